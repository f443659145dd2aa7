"""Published runs: what was measured, on what, with which settings, and where it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One published measurement: `tokens` per second and accelerator, `memory` in GiB where it was given.

    `settings` are those of the spec `benchmarks/published/<spec>.dsk`; `table` names the group that it stands in.
    `halves`: the run computed every second matrix product again, which no setting of a spec says. `fused`: its program
    joins kernels in the stages of its pipeline too.
    """

    table: str
    name: str
    spec: str
    settings: tuple[str, ...]
    tokens: float
    memory: float | None = None
    halves: bool = False
    fused: bool = False


GITHUB = "https://github.com"
SC21 = f"{GITHUB}/NVIDIA/Megatron-LM/tree/main/examples/academic_paper_scripts/sc21"
TITAN = f"{GITHUB}/pytorch/torchtitan/blob/main/benchmarks"
SOURCES = {
    "Megatron-LM SC21": (
        "Narayanan et al. 2021, table 1: TFLOP/s per GPU from the picture of it in the repository (cases_april2021.png "
        f"before commit 937571cfd4), sizes and batches from [its scripts]({SC21}). A100-80GB, 8 a node. Full "
        "recomputation; tokens/s by the paper's formula for operations (equation 3)."
    ),
    "torchtitan 8B": (
        f"[Tables 1 and 3]({TITAN}/llama3_h100_202412_torchtitan.md): H100 with 96 GB of HBM2e at 2.4 TB/s and 500 W "
        'of 700. Their peak is "between SXM and NVL" (989 and 835 TFLOPS) and not known; 850 is set, since power '
        "beyond some 150 W at rest grows with the cube of the clock: 989 x (350 / 550)^(1/3). The runs compute "
        "every second product again, which no setting says; its time is added."
    ),
    "torchtitan, other": (
        f"Tables 4 and 5, and the vanilla rows of [2025]({TITAN}/asyncTP_llama3_h100_2025-06_torchtitan.md)."
        " Micro-batches of the pipeline: as many as stages, the default of that commit (9dec370)."
    ),
    "NeMo": (
        "[Performance summary]"
        f"({GITHUB}/NVIDIA-NeMo/Megatron-Bridge/blob/main/docs/performance-summary-archive.md), DGX-H100, FP8 with "
        "current scaling, releases 25.09 and 25.11."
    ),
    "nanotron": (
        f"[Best layout for each model and number of nodes]({GITHUB}/huggingface/nanotron/blob/main/docs/"
        "benchmark_summary.svg): MFU of 989 TFLOPS, and memory; sizes from its scaling_benchmarks.py, sequences of "
        "4,096. Left out: 1.34B on 64 nodes, with fewer micro-batches than stages, which dskc refuses."
    ),
}


def _megatron() -> Iterator[Run]:
    """TP, PP, micro-batch, global batch, layers, hidden size, heads, chunks, overlap (DDP=torch), nodes; TFLOP/s."""
    table = (
        ("1.7B", 1, 1, 16, 512, 24, 2304, 24, 1, True, 4, 137),
        ("3.6B", 2, 1, 16, 512, 30, 3072, 32, 1, True, 8, 138),
        ("7.5B", 4, 1, 16, 512, 36, 4096, 32, 1, True, 16, 142),
        ("18.4B", 8, 1, 8, 1024, 40, 6144, 48, 1, True, 32, 135),
        ("39.1B", 8, 2, 4, 1536, 48, 8192, 64, 1, False, 64, 138),
        ("76.1B", 8, 4, 2, 1792, 60, 10240, 80, 3, False, 128, 140),
        ("145.6B", 8, 8, 2, 2304, 80, 12288, 96, 2, False, 192, 148),
        ("310.1B", 8, 16, 1, 2160, 96, 16384, 128, 2, False, 240, 155),
        ("529.6B", 8, 35, 1, 2520, 105, 20480, 128, 3, False, 315, 163),
        ("1008B", 8, 64, 1, 3072, 128, 25600, 160, 1, False, 384, 163),
    )
    for name, tensor, depth, micro, batch, layers, hidden, heads, chunks, overlap, nodes, rate in table:
        world = nodes * 8
        data = world // (tensor * depth)
        settings = [
            f"model.dim={hidden}", f"model.depth={layers}", f"model.heads={heads}", f"parallel.world_size={world}",
            f"parallel.tensor_model_parallel={tensor}", f"parallel.pipeline_depth={depth}",
            f"training.micro_batch_size={micro}", f"training.gradient_accumulation={batch // (micro * data)}",
            f"communication.overlap={str(overlap).lower()}",
        ]  # fmt: skip
        settings += [f"parallel.schedule=interleaved({chunks})"] if chunks > 1 else []
        sequence, vocab = 2048, 51_200
        token = 96 * layers * hidden**2 * (1 + sequence / (6 * hidden) + vocab / (16 * layers * hidden))
        yield Run("Megatron-LM SC21", name, "megatron_gpt", tuple(settings), rate * 1e12 / token, fused=True)


SIZES = {
    "8B": ("model.dim=4096", "model.depth=32", "model.heads=32", "model.kv_heads=8", "model.hidden=14336"),
    "70B": ("model.dim=8192", "model.depth=80", "model.heads=64", "model.kv_heads=8", "model.hidden=28672"),
    "405B": ("model.dim=16384", "model.depth=126", "model.heads=128", "model.kv_heads=8", "model.hidden=53248"),
}
GRAND_TETON = ("cluster.memory=96 GB", "cluster.memory_bandwidth=2.4 TB/s", "cluster.peak=850 TFLOPS")
EAGER, COMPILED, FLOAT8 = "training.execution=eager", "training.execution=compiled", "precision.compute=fp8"


def _torchtitan() -> Iterator[Run]:
    fsdp = ("parallel.shard=parameters", "training.micro_batch_size=2", "memory.checkpointing=selective")
    rows = ((8, "FSDP", (EAGER,), 5762, 82.4), (8, "FSDP, compiled", (COMPILED,), 6667, 77.0),
            (8, "FSDP, compiled, float8", (COMPILED, FLOAT8), 8532, 76.8),
            (128, "FSDP", (EAGER,), 5605, 67.0), (128, "FSDP, compiled", (COMPILED,), 6514, 62.0),
            (128, "FSDP, compiled, float8", (COMPILED, FLOAT8), 8380, 61.8))  # fmt: skip
    for world, name, extra, tokens, memory in rows:
        settings = (*SIZES["8B"], *GRAND_TETON, f"parallel.world_size={world}", *fsdp, *extra)
        yield Run("torchtitan 8B", f"{world} x {name}", "llama", settings, tokens, memory, True)
    tensor = ("parallel.tensor_model_parallel=8", "parallel.sequence_parallel=true", COMPILED)
    whole = (*SIZES["70B"], *GRAND_TETON, "parallel.world_size=256", "training.micro_batch_size=16",
             "memory.checkpointing=full", "parallel.shard=parameters", *tensor)  # fmt: skip
    yield Run("torchtitan, other", "70B, 32 x 8, float8", "llama", (*whole, FLOAT8), 829, 71.9)
    yield Run("torchtitan, other", "70B, 32 x 8 (2025)", "llama", whole, 597.3)
    yield Run("torchtitan, other", "70B, 32 x 8, float8 (2025)", "llama", (*whole, FLOAT8), 809.8)
    small = (*SIZES["8B"], *GRAND_TETON, "parallel.world_size=64", "training.micro_batch_size=12",
             "memory.checkpointing=selective", "parallel.shard=parameters", *tensor)  # fmt: skip
    yield Run("torchtitan, other", "8B, 8 x 8 (2025)", "llama", small, 4378, halves=True)
    yield Run("torchtitan, other", "8B, 8 x 8, float8 (2025)", "llama", (*small, FLOAT8), 5078.1, halves=True)
    large = (*SIZES["405B"], *GRAND_TETON, "parallel.world_size=512", "parallel.pipeline_depth=8", FLOAT8,
             "training.micro_batch_size=4", "training.gradient_accumulation=8", "memory.checkpointing=full",
             "parallel.shard=optimizer", *tensor[:2])  # fmt: skip
    yield Run("torchtitan, other", "405B, 8 x 8 x 8, 1F1B", "llama", large, 100, 82.5, fused=True)
    interleaved = (*large, "parallel.schedule=interleaved(2)")
    yield Run("torchtitan, other", "405B, 8 x 8 x 8, interleaved", "llama", interleaved, 128, 72.7, fused=True)


def _nemo() -> Iterator[Run]:
    eight = (*SIZES["8B"], "parallel.world_size=8", "parallel.shard=parameters", "training.micro_batch_size=1",
             "training.gradient_accumulation=16", FLOAT8)  # fmt: skip
    yield Run("NeMo", "8B, FSDP 8 (25.09)", "llama", eight, 14_079)
    yield Run("NeMo", "8B, FSDP 8 (25.11)", "llama", eight, 14_451)
    seventy = (*SIZES["70B"], "parallel.world_size=64", "parallel.tensor_model_parallel=4", "parallel.pipeline_depth=8",
               "parallel.sequence_parallel=true", "parallel.schedule=interleaved(5)", "parallel.shard=optimizer",
               "training.micro_batch_size=1", "training.gradient_accumulation=64", FLOAT8)  # fmt: skip
    yield Run("NeMo", "70B, 2 x 8 x 4 (25.09)", "llama", seventy, 1_619, fused=True)
    yield Run("NeMo", "70B, 2 x 8 x 4 (25.11)", "llama", seventy, 1_602, fused=True)


GRID = {
    "1.34B": (16, 2048, 32, 8192), "3.57B": (28, 3072, 32, 8192),
    "8.86B": (32, 4096, 32, 14336), "80B": (80, 8192, 64, 28672),
}  # fmt: skip
# model, nodes, data, tensor, pipeline, accumulation, micro-batch, ZeRO stage, MFU in per cent, GB
CELLS = (
    ("3.57B", 64, 128, 4, 1, 1, 2, 1, 10.49, 16.42),
    ("8.86B", 64, 128, 4, 1, 1, 2, 0, 18.69, 57.76), ("80B", 64, 32, 16, 1, 4, 2, 1, 17.79, 53.46),
    ("1.34B", 32, 64, 4, 1, 1, 4, 0, 23.20, 19.57), ("3.57B", 32, 64, 4, 1, 1, 4, 0, 26.77, 38.98),
    ("8.86B", 32, 32, 8, 1, 1, 8, 0, 32.71, 63.39), ("80B", 32, 4, 4, 16, 64, 1, 1, 30.75, 64.21),
    ("1.34B", 16, 64, 2, 1, 1, 4, 0, 29.46, 38.84), ("3.57B", 16, 32, 4, 1, 1, 8, 0, 34.59, 66.20),
    ("8.86B", 16, 16, 8, 1, 2, 8, 0, 36.33, 66.88), ("80B", 16, 1, 4, 32, 256, 1, 0, 34.29, 61.18),
    ("1.34B", 8, 32, 1, 2, 8, 1, 1, 32.47, 16.27), ("3.57B", 8, 32, 1, 2, 8, 1, 1, 35.53, 36.73),
    ("8.86B", 8, 32, 1, 2, 8, 1, 1, 39.50, 59.09), ("80B", 8, 1, 4, 16, 256, 1, 0, 30.65, 63.07),
    ("1.34B", 4, 16, 1, 2, 16, 1, 1, 38.38, 16.39), ("3.57B", 4, 16, 1, 2, 8, 2, 1, 40.39, 53.33),
    ("8.86B", 4, 16, 1, 2, 16, 1, 1, 43.31, 61.10), ("80B", 4, 1, 8, 4, 256, 1, 0, 14.76, 65.97),
    ("1.34B", 2, 8, 1, 2, 32, 1, 1, 41.59, 19.45), ("3.57B", 2, 8, 1, 2, 16, 2, 1, 43.77, 54.31),
    ("8.86B", 2, 4, 4, 1, 16, 4, 1, 43.94, 58.34), ("1.34B", 1, 4, 1, 2, 16, 4, 1, 44.32, 41.76),
    ("3.57B", 1, 4, 1, 2, 32, 2, 1, 46.68, 56.87), ("8.86B", 1, 2, 1, 4, 128, 1, 1, 45.22, 63.07),
)  # fmt: skip


def _nanotron() -> Iterator[Run]:
    for model, nodes, data, tensor, depth, steps, micro, zero, utilisation, memory in CELLS:
        layers, hidden, heads, inner = GRID[model]
        sequence, vocab = 4096, 131_072
        forward = layers * (8 * hidden**2 + 4 * sequence * hidden + 6 * hidden * inner) + 2 * hidden * vocab
        settings = [
            f"model.dim={hidden}", f"model.depth={layers}", f"model.heads={heads}", f"model.kv_heads={heads}",
            f"model.hidden={inner}", f"model.tied={str(inner < 10_000).lower()}", f"data.vocab={vocab}",
            f"data.sequence={sequence}", f"parallel.world_size={nodes * 8}", f"parallel.tensor_model_parallel={tensor}",
            f"parallel.pipeline_depth={depth}", f"training.micro_batch_size={micro}",
            f"training.gradient_accumulation={steps}", f"parallel.shard={'optimizer' if zero and data > 1 else 'none'}",
            EAGER,
        ]  # fmt: skip
        settings += ["parallel.sequence_parallel=true"] if tensor > 1 else []
        name = f"{model}, {data} x {depth} x {tensor}"
        rate = utilisation / 100 * 989e12 / (3 * forward)
        yield Run("nanotron", name, "llama", tuple(settings), rate, memory * 1e9 / (1 << 30))


RUNS: tuple[Run, ...] = (*_megatron(), *_torchtitan(), *_nemo(), *_nanotron())
