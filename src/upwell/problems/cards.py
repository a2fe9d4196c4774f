"""The known problem sets: public source, licence, sizes and the SHA-256 of the known files.

A checksum is of a file that was read; where none was at hand it is None, never a guess.
"""

from __future__ import annotations

import inspect

import msgspec

from upwell.problems import formats
from upwell.problems.formats import Reader


class DataFile(msgspec.Struct, frozen=True):
    """A file of a set, as it is known."""

    path: str
    """Below `$UPWELL_DATA`."""
    split: str = "test"
    sha256: str | None = None
    rows: int | None = None
    """Rows in the known file."""


class Hub(msgspec.Struct, frozen=True, kw_only=True):
    """Where a set lies on the Hugging Face hub, as plain data files (loading scripts are never run)."""

    repo: str
    splits: dict[str, tuple[str, ...]]
    """Hub splits that make up each split here."""
    configs: tuple[str | None, ...] = (None,)


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a problem set."""

    name: str
    title: str
    url: str
    """Public source."""
    copy: str = ""
    """Where the files lie in public in exactly this form, checksum and all; empty where none was found."""
    licence: str
    """As the source states it; `not stated` where it does not, or where that could not be verified."""
    layout: str
    """Name of the reader in `formats` that understands the files."""
    files: tuple[DataFile, ...] = ()
    published: dict[str, int] = {}
    """Rows per split as published; the known file can have fewer."""
    hub: Hub | None = None
    remarks: tuple[str, ...] = ()
    """What a reader of any number on this set should know."""
    graded: bool = True
    """Whether there are reference answers. Without, the set can be sampled, but only a judging model can grade it."""

    @property
    def format(self) -> str:
        """How the files lay a problem out."""
        return " ".join((inspect.getdoc(self.reader) or "").split())

    @property
    def reader(self) -> Reader:
        """The function that reads one row."""
        reader: Reader = getattr(formats, self.layout)
        return reader

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that exist, in order."""
        return tuple(dict.fromkeys(file.split for file in self.files))

    @property
    def origin(self) -> str:
        """Where to get the files."""
        return self.copy or self.url

    def files_of(self, split: str) -> tuple[DataFile, ...]:
        """The files of one split."""
        return tuple(file for file in self.files if file.split == split)


_MAWPS_URL = "https://github.com/sroy9/mawps"
_TORA = "https://github.com/microsoft/ToRA/tree/main/src/data"
_DART = "https://github.com/hkust-nlp/dart-math/tree/main/data/dsets"
_QWEN = "https://github.com/QwenLM/Qwen2.5-Math/tree/main/evaluation/data"
_NOT_WHOLE = "Golds that are not whole numbers carry PAL's absolute tolerance of 0.001."
_DOLLARS = "Golds wrapped in `$...$` lose the dollar signs."
_AOPS = "not stated (competition problems of the MAA, solutions from the AoPS wiki)"


_KNOWN_FILES = """
af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac 30 aime24/test.jsonl
43707e1ca784602d8479de24ee8ce36609dbebc46dd152b0b12a46611aa898a4 40 amc23/test.jsonl
5759580385e706f961a30d4c07d6925b35c3f7c86d6c50bc413957169693dad2 2215 asdiv/test.jsonl
91131bc4a355b884fc63ef7c4f048c35adb030004a4cb07b1475698f120aa4a6 2818 college-math/test.jsonl
1caa7e191af2df1c110ca405dcaf7fc663a1bac16f589e6af853bff5d1012a11 1000 deepmind-mathematics/deepmind-mathematics.json
45db606263a4902580aba3974e8b7fb3f66012877889209af206b1c1b2f208f5 1319 gsm-hard/test.jsonl
3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14 1319 gsm8k/test.jsonl
17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465 7473 gsm8k/train.jsonl
fcca40a2d0d27b9c8a137f2f7fb5c888be1584d43366f2ed18281f7946dac35d 33 hungarian/exam_Baichuan2-13B-Chat.csv
0720fce9ee0e71c99a09e5e9e161b9a556bc7613eaa4882db10d6d455da829c8 33 hungarian/exam_ChatGLM3-6B.csv
195c24ef181736c9c9fd4a7085b17fec33da3bcc25fc1ba93fac095b1259843e 33 hungarian/exam_DeepSeek-66B.csv
9187d11a5abdf713c6f493b22438b091273a5ea5c6282e212621f0f78b5b8bb3 33 hungarian/exam_Qwen-14B-Chat.csv
944b362fd0fc0fbf708af5d666fec9ce3d1992ac6c7049ef5de9bb2c207fc202 33 hungarian/exam_Yi-34B-Chat.csv
3371949f33dd702d04b43fddd7d53a028de0aaca0e76abb1b875a050297b3aa4 5000 math/test.jsonl
2fae2c92530cdf1ac0487db9a90e68d6af84049d755c07c4486411c1d7f43e75 395 mawps/addsub.jsonl
12e8295088364af21fb6591dbdbd1dda452aade57227f63d725677471ded2951 600 mawps/multiarith.jsonl
07bec92bae226dd5231a966e907a0f097ba3170a1557c73ceeb135caad8d09f8 508 mawps/singleeq.jsonl
feb012e7ed5503cdb96fd127d539692b033000e9134655acaf4f4e0091328e94 562 mawps/singleop.jsonl
00ffe31161be8623a3d36741830edbba87a3aee0109f693810fe40b9d5d91b8b 2065 mawps/test.jsonl
3567c23130004c8936543aeb06739f094fcdcb1688cb2b655d0b18e7e1e3d4f9 675 olympiadbench/OE_TO_maths_en_COMP.json
d0826ff1264f3860e46fc4e71db9e31d2d188960db87090e22677f9493e67a0d 1000 svamp/test.jsonl
84b85febccbcbc03668b710cc5c9fb3ffb972e19db88f5a3423bd943e025087c 800 theoremqa/theoremqa.json
"""
"""SHA-256, rows and path of every file that was at hand."""

_KNOWN = {path: (sha256, int(rows)) for sha256, rows, path in map(str.split, _KNOWN_FILES.split("\n")[1:-1])}


def _file(path: str, split: str = "test") -> DataFile:
    return DataFile(path, split, *_KNOWN.get(path, (None, None)))


def _mawps(subset: str, title: str, rows: int) -> Card:
    return Card(
        name=f"mawps-{subset}",
        title=title,
        url=_MAWPS_URL,
        copy=_TORA,
        licence="not stated",
        layout="mawps",
        files=(_file(f"mawps/{subset}.jsonl"),),
        published={"test": rows},
        remarks=(_NOT_WHOLE,),
    )


_CARDS = (
    Card(
        name="gsm8k",
        title="GSM8K: grade-school word problems",
        url="https://github.com/openai/grade-school-math",
        copy="https://github.com/openai/grade-school-math/tree/master/grade_school_math/data",
        licence="MIT",
        layout="gsm8k",
        files=(
            _file("gsm8k/test.jsonl"),
            _file("gsm8k/train.jsonl", "train"),
        ),
        published={"test": 1319, "train": 7473},
        hub=Hub(repo="openai/gsm8k", configs=("main",), splits={"test": ("test",), "train": ("train",)}),
    ),
    Card(
        name="math",
        title="MATH: competition problems in seven subjects and five levels",
        url="https://github.com/hendrycks/math",
        copy=_TORA,
        licence="MIT",
        layout="math",
        files=(
            _file("math/test.jsonl"),
            _file("math/train.jsonl", "train"),
        ),
        published={"test": 5000, "train": 7500},
        hub=Hub(
            repo="EleutherAI/hendrycks_math",
            configs=(
                "algebra",
                "counting_and_probability",
                "geometry",
                "intermediate_algebra",
                "number_theory",
                "prealgebra",
                "precalculus",
            ),
            splits={"test": ("test",), "train": ("train",)},
        ),
    ),
    Card(
        name="math-500",
        title="MATH-500: the 500 test problems of MATH that Lightman et al. held out",
        url="https://github.com/openai/prm800k",
        licence="MIT",
        layout="math_500",
        files=(_file("math-500/test.jsonl"),),
        published={"test": 500},
        hub=Hub(repo="HuggingFaceH4/MATH-500", splits={"test": ("test",)}),
        remarks=("A subset of `math`: do not add the two up.",),
    ),
    Card(
        name="svamp",
        title="SVAMP: elementary word problems, varied in structure",
        url="https://github.com/arkilpatel/SVAMP",
        copy=_TORA,
        licence="MIT",
        layout="svamp",
        files=(_file("svamp/test.jsonl"),),
        published={"test": 1000},
        hub=Hub(repo="ChilleD/SVAMP", splits={"test": ("train", "test")}),
        remarks=("All 1,000 problems, as the field reports it; the hub's own test split has 300 of them.",),
    ),
    Card(
        name="asdiv",
        title="ASDiv: diverse elementary word problems",
        url="https://github.com/chaochun/nlu-asdiv-dataset",
        copy=_TORA,
        licence="CC BY-NC 4.0",
        layout="asdiv",
        files=(_file("asdiv/test.jsonl"),),
        published={"test": 2305},
        remarks=(
            "2,215 of the 2,305 published problems: the selection of ToRA's evaluation.",
            "131 golds are words, times, ratios or fractions (`Yes`, `5:45`, `3:4`, `5/2`).",
        ),
    ),
    Card(
        name="mawps",
        title="MAWPS: the union of its four subsets",
        url=_MAWPS_URL,
        copy=_TORA,
        licence="not stated",
        layout="mawps",
        files=(_file("mawps/test.jsonl"),),
        published={"test": 2065},
        remarks=("The subsets repeat some questions; each is asked once here.", _NOT_WHOLE),
    ),
    _mawps("addsub", "MAWPS AddSub: one addition or subtraction", 395),
    _mawps("multiarith", "MAWPS MultiArith: several operations", 600),
    _mawps("singleeq", "MAWPS SingleEq: one equation", 508),
    _mawps("singleop", "MAWPS SingleOp: one operation", 562),
    Card(
        name="gsm-hard",
        title="GSM-Hard: GSM8K test with numbers made large",
        url="https://github.com/reasoning-machines/pal",
        copy=_TORA,
        licence="MIT",
        layout="gsm_hard",
        files=(_file("gsm-hard/test.jsonl"),),
        published={"test": 1319},
        hub=Hub(repo="reasoning-machines/gsm-hard", splits={"test": ("train",)}),
        remarks=(
            "Numbers were replaced by program, so some questions have absurd (negative, fractional) golds.",
            _NOT_WHOLE,
        ),
    ),
    Card(
        name="numglue",
        title="NumGLUE: eight tasks that need simple arithmetic",
        url="https://github.com/allenai/numglue",
        licence="ODC-By 1.0",
        layout="numglue",
        files=(_file("numglue/NumGLUE_test.json"),),
    ),
    Card(
        name="algebra",
        title="Algebra (Kushman et al.): word problems that set up equations",
        url="https://groups.csail.mit.edu/rbg/code/wordprobs/",
        licence="not stated",
        layout="kushman",
        files=(_file("algebra/questions.json"),),
        published={"test": 514},
        remarks=("Problems with several unknowns list all values in the gold, in no given order.",),
    ),
    Card(
        name="college-math",
        title="CollegeMath: exercises of nine college textbooks (MathScale)",
        url="https://github.com/microsoft/unilm/tree/master/mathscale",
        licence="per row, most of them Creative Commons (field `license`)",
        layout="college_math",
        files=(_file("college-math/test.jsonl"),),
        published={"test": 2818},
        remarks=(
            _DOLLARS,
            "37 rows repeat a question, some with another answer (the exercise lost its formula).",
            "Some golds are sentences, which no grader can compare by value.",
        ),
    ),
    Card(
        name="deepmind-mathematics",
        title="DeepMind Mathematics: 1,000 generated problems (the selection of DART-Math)",
        url="https://github.com/google-deepmind/mathematics_dataset",
        copy=_DART,
        licence="Apache-2.0",
        layout="question_answer",
        files=(_file("deepmind-mathematics/deepmind-mathematics.json"),),
        published={"test": 1000},
    ),
    Card(
        name="olympiadbench",
        title="OlympiadBench: OE_TO_maths_en_COMP (open-ended, text only, English, competition)",
        url="https://github.com/OpenBMB/OlympiadBench",
        copy=_DART,
        licence="Apache-2.0 (the authors' copy on the hub)",
        layout="olympiadbench",
        files=(_file("olympiadbench/OE_TO_maths_en_COMP.json"),),
        published={"test": 675},
        hub=Hub(repo="Hothan/OlympiadBench", configs=("OE_TO_maths_en_COMP",), splits={"test": ("train",)}),
        remarks=(
            _DOLLARS,
            "94 golds list several answers, separated by commas; their order does not matter.",
            "Units (8 rows) are not part of the gold.",
        ),
    ),
    Card(
        name="theoremqa",
        title="TheoremQA: applying theorems in mathematics, physics, EE & CS and finance",
        url="https://github.com/wenhuchen/TheoremQA",
        copy=_DART,
        licence="MIT",
        layout="theoremqa",
        files=(_file("theoremqa/theoremqa.json"),),
        published={"test": 800},
        hub=Hub(repo="TIGER-Lab/TheoremQA", splits={"test": ("test",)}),
        remarks=(
            "53 questions show a picture that a text model cannot see; they are kept, as in published "
            "text-only scores.",
            "Float golds carry the benchmark's own tolerance of 4 % of their value; golds that are lists "
            "do not.",
        ),
    ),
    Card(
        name="aime24",
        title="AIME 2024, I and II",
        url="https://artofproblemsolving.com/wiki/index.php/2024_AIME_I",
        copy=_QWEN,
        licence=_AOPS,
        layout="aime",
        files=(_file("aime24/test.jsonl"),),
        published={"test": 30},
        hub=Hub(repo="HuggingFaceH4/aime_2024", splits={"test": ("train",)}),
    ),
    Card(
        name="amc23",
        title="AMC 12 2023, A and B: 40 problems answered by a whole number",
        url="https://artofproblemsolving.com/wiki/index.php/2023_AMC_12A",
        copy=_QWEN,
        licence=_AOPS,
        layout="amc",
        files=(_file("amc23/test.jsonl"),),
        published={"test": 40},
        hub=Hub(repo="math-ai/amc23", splits={"test": ("test",)}),
    ),
    Card(
        name="hungarian",
        title="Hungarian national high-school finals 2023 (mathematics)",
        url="https://huggingface.co/datasets/keirp/hungarian_national_hs_finals_exam",
        licence="not stated",
        layout="hungarian",
        files=tuple(
            _file(f"hungarian/exam_{model}.csv")
            for model in ("Baichuan2-13B-Chat", "ChatGLM3-6B", "DeepSeek-66B", "Qwen-14B-Chat", "Yi-34B-Chat")
        ),
        published={"test": 33},
        graded=False,
        remarks=(
            "The files hold no reference answers (the solutions are a PDF for human markers), and papers "
            "report points given by people: it can be sampled and shown here, and graded only by a judging model.",
        ),
    ),
)

CARDS: dict[str, Card] = {card.name: card for card in _CARDS}
"""Every known set by name."""
