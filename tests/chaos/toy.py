"""A program that trains nothing, in milliseconds: it keeps checkpoints, records and events as generated programs do."""

from __future__ import annotations

import json
from pathlib import Path

PLAN = {"spec": {"parallel": {"world_size": 1}, "checkpoint": {"every": {"unit": "steps", "value": 5}}}}

PROGRAM = """
import argparse, hashlib, json, os, shutil, struct, sys, time
from pathlib import Path
from dskc.runtime import events

STEPS, EVERY, KEEP, SIZE, SAME = {steps}, 5, 3, 16, 2048

def tensorfile(path, values):
    data = struct.pack(f"<{{SIZE}}f", *values) * SAME
    about = {{"dtype": "F32", "shape": [SAME, SIZE], "data_offsets": [0, len(data)]}}
    header = json.dumps({{"weight": about}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)

def weights(path):
    content = path.read_bytes()
    return list(struct.unpack(f"<{{SIZE}}f", content[-4 * SIZE :]))

def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

def save(folder, step, values):
    begun, temporary = time.monotonic(), folder / f".writing-{{step:08}}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name in ("model.safetensors", "training.safetensors"):
            tensorfile(temporary / name, values)
        (temporary / "state.json").write_text(json.dumps({{"step": step, "samples": 4 * step}}))
        manifest = {{path.name: digest(path) for path in temporary.iterdir()}}
        (temporary / "manifest.json").write_text(json.dumps(manifest))
        os.rename(temporary, folder / f"step-{{step:08}}")
    except OSError as error:
        events.LOG.add("save_failed", step, why=error.strerror)
        return
    events.LOG.add("saved", step, seconds=time.monotonic() - begun)
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)

def restore(folder):
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            good = manifest and all(digest(path / name) == told for name, told in manifest.items())
        except (OSError, ValueError):
            good = False
        if good:
            return json.loads((path / "state.json").read_text())["step"], weights(path / "model.safetensors")
        events.LOG.add("damaged", 0, path=path.name)
        os.rename(path, path.with_name("damaged-" + path.name))
    return 0, [0.0] * SIZE

parser = argparse.ArgumentParser()
parser.add_argument("--run", type=Path)
parser.add_argument("--device")
run = parser.parse_args().run
again = (run / "events.jsonl").exists()
events.LOG.open(run)
step, values = restore(run / "checkpoints")
{on_resume}
if again:
    events.LOG.add("died")
events.LOG.add("started")
events.LOG.add("resumed", step)
records = []
if (run / "metrics.jsonl").exists():
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
metrics = (run / "metrics.jsonl").open("w")
metrics.writelines(json.dumps(row) + "\\n" for row in records if row["step"] <= step)
while step < STEPS:
    values = [struct.unpack("f", struct.pack("f", value + step))[0] for value in values]
    step += 1
    sys.audit("dskc.step", step)
    metrics.write(json.dumps({{"step": step, "phase": "train", "loss": values[0]}}) + "\\n")
    metrics.flush()
    if step % EVERY == 0 or step == STEPS:
        save(run / "checkpoints", step, values)
events.LOG.add("finished", step)
"""


def toy(folder: Path, on_resume: str = "", steps: int = 60) -> Path:
    """Writes the program; `on_resume` are statements that it runs when it has loaded its state."""
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(PLAN), "utf-8")
    (folder / "train.py").write_text(PROGRAM.format(steps=steps, on_resume=on_resume), "utf-8")
    return folder
