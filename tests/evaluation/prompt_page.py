"""The prompts of docs/prompts.md, made from cards, recipes and templates.

`python tests/evaluation/prompt_page.py` writes them anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from upwell import prompts
from upwell.engines.checkpoints import DEFAULT_MODEL, resolve
from upwell.evaluation.model_cards import ModelCard, card_of
from upwell.training.recipes import RECIPES

PAGE = Path(__file__).parents[2] / "docs" / "prompts.md"
QUESTION = (
    "A bakery packs 18 rolls into each of 7 boxes and keeps 9 rolls for its own shelf. It sells the boxes for $6 each. "
    "How many rolls did it bake?"
)
_BOS = re.compile(r"the tokenizer puts (.+) in front")


@dataclass(frozen=True)
class Family:
    """Models that are asked alike."""

    title: str
    carded: str | None
    """One of them that has a card."""
    recipes: tuple[str, ...] = ()
    """Recipes that train such a model."""
    tokenizer_of: str | None = None
    """Where there is no card: a model with one that has the same base."""

    @property
    def card(self) -> ModelCard | None:
        return None if self.carded is None else card_of(self.carded)

    @property
    def prompt(self) -> str:
        return self.card.prompt if self.card is not None else RECIPES[self.recipes[0]].prompt.value

    @property
    def template(self) -> prompts.Template:
        return prompts.get(self.prompt, chat=_chat() if self.prompt == "chat" else None)

    @property
    def eos(self) -> str:
        return self.card.eos if self.card is not None else RECIPES[self.recipes[0]].eos.value

    @property
    def stops(self) -> tuple[str, ...]:
        """In the order in which an evaluation gives them."""
        return tuple(dict.fromkeys((*self.template.stop, *(self.card.stops if self.card else ()))))

    @property
    def bos(self) -> str | None:
        """What the tokenizer puts in front, as the card says; None where that is nothing."""
        card = self.card or card_of(self.tokenizer_of or "")
        found = next((m[1] for quirk in card.quirks if (m := _BOS.fullmatch(quirk))), None) if card else None
        return None if found == "nothing" else found


FAMILIES = (
    Family("Xwin-Math on LLaMA-2", "Xwin-LM/Xwin-Math-7B-V1.1",
           ("xwin-llama2-7b", "xwin-llama2-13b", "xwin-llama2-70b")),
    Family("Xwin-Math on Mistral-7B", None, ("xwin-mistral-7b",), "hkust-nlp/dart-math-mistral-7b-uniform"),
    Family("Xwin-Math on Llemma-7B", None, ("xwin-llemma-7b",), "meta-math/MetaMath-Llemma-7B"),
    Family("dart-math on Mistral-7B", "hkust-nlp/dart-math-mistral-7b-uniform", ("dart-mistral-7b",)),
    Family("dart-math on Llama-3", "hkust-nlp/dart-math-llama3-8b-uniform", ("dart-llama3-8b", "dart-llama3-70b")),
    Family("dart-math on DeepSeekMath-7B", "hkust-nlp/dart-math-dsmath-7b-uniform", ("dart-dsmath-7b",)),
    Family("DeepSeekMath", "deepseek-ai/deepseek-math-7b-rl"),
    Family("MetaMath", "meta-math/MetaMath-7B-V1.0"),
    Family("SmolLM2", DEFAULT_MODEL, ("smollm2-135m",)),
    Family("Qwen2.5-Math", "Qwen/Qwen2.5-Math-1.5B-Instruct"),
    Family("Qwen2.5-Math base", "Qwen/Qwen2.5-Math-1.5B", ("qwen2.5-math-1.5b",)),
)  # fmt: skip


@cache
def _chat() -> prompts.Chat:
    checkpoint = resolve(DEFAULT_MODEL)
    return prompts.Chat(
        template=checkpoint.chat_template() or "",
        bos_token=checkpoint.special_token("bos_token"),
        eos_token=checkpoint.special_token("eos_token"),
        where=checkpoint.name,
    )


def section(family: Family) -> str:
    """A family's prompt, and what goes with it."""
    card, template = family.card, family.template
    stops = [f"`{json.dumps(stop, ensure_ascii=False)}`" for stop in family.stops]
    told = [
        f"prompt: `{family.prompt}`"
        + ("" if card else f", by the recipe `{family.recipes[0]}`; no card knows it"),
        f"stop strings: {', '.join(stops)}",
        f"EOS: `{family.eos}`",
        f"BOS: {_bos(family)}",
    ]
    if family.recipes:
        told.append(f"trained with: {_trained(family)}")
    if card is not None:
        told.append(f"model: {_linked(card.source)}")
    told.append(f"format: {_linked(template.source)}")
    said = [RECIPES[name].prompt for name in family.recipes[:1]]
    told += [f"of its text: {prompt.why}" for prompt in said if prompt.source == "paper"]
    if card is not None:
        told += [_linked(quirk) for quirk in card.quirks if not _BOS.fullmatch(quirk)]
    shown = json.dumps(template.render(QUESTION), ensure_ascii=False)
    return f"```json\n{shown}\n```\n\n" + "\n".join(f"- {line}" for line in told)


def _bos(family: Family) -> str:
    if not family.template.add_special_tokens:
        return "none added; the text of the chat template is all that the model sees"
    if family.bos is None:
        return "none; the tokenizer puts nothing in front"
    told = f"`{family.bos}`, added by the tokenizer"
    return told if family.card else f"{told}, as for `{family.tokenizer_of}` on the same base"


def _trained(family: Family) -> str:
    shown = []
    for name in family.recipes:
        recipe = RECIPES[name]
        other = [f"prompt `{recipe.prompt.value}`"] if recipe.prompt.value != family.prompt else []
        other += [f"EOS `{recipe.eos.value}`"] if recipe.eos.value != family.eos else []
        shown.append(f"`{name}`" + (f", which takes another: {', '.join(other)}" if other else ""))
    return ", ".join(shown)


def _linked(text: str) -> str:
    """With addresses as links and tokens as code."""
    text = re.sub(r"<[|｜]?\w[^<>]*>", lambda found: f"`{found[0]}`", text)
    return re.sub(r"https://[^\s,]+", lambda found: f"<{found[0]}>", text)


def filled(page: str, families: tuple[Family, ...] = FAMILIES) -> str:
    """The page with the parts of these families made anew."""
    for family in families:
        before, mark, rest = page.partition(f"<!-- made: {family.title} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        assert mark and end, f"{PAGE.name} lacks the marks of {family.title!r}"
        page = before + mark + section(family) + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
