"""What is trained on, and in which form."""

from __future__ import annotations

from typing import Literal

from ..values import AUTO
from .augment import Learned, Noise, RandomChange
from .base import Auto, Bytes, Record, Share, needed, record, setting


@record
class Text(Record):
    """Text files, each one document."""

    kind = "text"
    files: str = needed(
        "Path or pattern (`**` for any folders), seen from where training starts; `{stdlib}`: Python's."
    )


@record
class Jsonl(Record):
    """JSON Lines files, each line one document."""

    kind = "jsonl"
    files: str = needed("Path or pattern, seen from where training starts.")
    field: str = setting("Field that holds the text.", default="text")


@record
class Parquet(Record):
    """Parquet files, each row one document."""

    kind = "parquet"
    files: str = needed("Path or pattern, seen from where training starts.")
    column: str = setting("Column that holds the text.", default="text")


@record
class TokenFiles(Record):
    """Binary files of token numbers, little-endian."""

    kind = "tokens"
    files: str = needed("Path or pattern, seen from where training starts.")
    dtype: Literal["uint16", "uint32"] | Auto = setting(
        "Width of a token; `auto` is uint16 where the vocabulary fits it.", default=AUTO
    )


@record
class Images(Record):
    """A folder of images, one folder in it per class."""

    kind = "images"
    compiled = False
    directory: str = needed("The folder.")
    size: int = needed("Height and width that images are brought to.", least=1)


@record
class ImageText(Record):
    """Images with their texts."""

    kind = "image_text"
    compiled = False
    files: str = needed("JSON Lines files with the path of the image and its text.")
    size: int = needed("Height and width that images are brought to.", least=1)
    image: str = setting("Field that holds the path of the image.", default="image")
    text: str = setting("Field that holds the text.", default="text")


@record
class Digits(Record):
    """1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

    kind = "digits"


@record
class Random(Record):
    """Random inputs of the shapes that the model declares, for measuring."""

    kind = "random"


@record
class Datasets(Record):
    """A data set of the Hugging Face `datasets` library."""

    kind = "datasets"
    compiled = False
    name: str = needed("Name or folder of the data set.")
    split: str = setting("Split of the data set.", default="train")
    column: str = setting("Column that holds the text.", default="text")
    streaming: bool = setting("Reads while training rather than before.", default=False)


@record
class Custom(Record):
    """A class of yours with `__len__` and `__getitem__`."""

    kind = "custom"
    compiled = False
    target: str = needed("`file.py:Class`.")


@record
class Bpe(Record):
    """A byte-level byte-pair encoding, trained on the training documents once and then kept."""

    kind = "bpe"
    vocab: int = needed("Number of tokens.", least=257, most=2**31 - 1)


@record
class TokenizerFile(Record):
    """A tokenizer of the `tokenizers` library."""

    kind = "file"
    path: str = needed("Path of a `tokenizer.json`, seen from where training starts.")


@record
class ByteTokens(Record):
    """Each byte of UTF-8 is a token."""

    kind = "bytes"


@record
class DiskCache(Record):
    """Keeps decoded samples on a local disk."""

    kind = "disk"
    compiled = False
    directory: str = needed("Folder of the cache.")
    limit: Bytes | None = setting("Largest size of the cache.", default=None, above=0)
    warm_up: Share = setting("Share of the data brought in before training starts.", default=0.0, least=0, most=1)


@record
class MemoryCache(Record):
    """Keeps decoded samples in the memory of the host."""

    kind = "memory"
    compiled = False
    limit: Bytes = needed("Largest size of the cache.", above=0)
    warm_up: Share = setting("Share of the data brought in before training starts.", default=0.0, least=0, most=1)


Source = Text | Jsonl | Parquet | TokenFiles | Images | ImageText | Digits | Random | Datasets | Custom
Tokenizer = Bpe | TokenizerFile | ByteTokens


@record
class Data(Record):
    """What is trained on. The order of samples is a function of the seed and the number of samples consumed only."""

    source: Source = needed("Where samples come from.")
    tokenizer: Tokenizer | None = setting("How text becomes tokens.", default=None)
    vocab: int | None = setting(
        "Number of different tokens; follows from the tokenizer where there is one.", default=None, least=1
    )
    classes: int | None = setting("Number of classes; 10 for `digits()`.", default=None, least=1)
    sequence: int | None = setting("Tokens per sample.", default=None, least=1, most=2**31 - 1)
    packing: Literal["stream", "best_fit", "pad"] = setting(
        "`stream` joins documents and cuts every `sequence` tokens, `best_fit` keeps documents whole where it can, "
        "`pad` gives each its own sample.",
        default="stream",
        compiled=("stream",),
    )
    validation: Share = setting("Share of the documents or samples kept for evaluation.", default=0.0, least=0, below=1)
    shuffle: bool = setting("Whether each epoch has its own order.", default=True)
    seed: int | Auto = setting(
        "Seed of split and order; `auto` is `training.seed`.", default=AUTO, least=0, most=2**63 - 1
    )
    augment: RandomChange | Learned | None = setting("How training samples are varied.", default=None)
    filter: Noise | None = setting("Which training samples are set aside as noise.", default=None)
    workers: int = setting(
        "Loading processes per rank, each with its own share of the data.", default=0, least=0, compiled=False
    )
    cache: DiskCache | MemoryCache | None = setting("Where decoded samples are kept.", default=None)
