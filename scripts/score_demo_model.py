"""How good is golek-tiny? Asks the GGUF file itself, through llama.cpp, and prints one JSON line.

An answer is right when it equals the expected one, to the letter. Figures are shares of right answers:

  trained      a fixed sample of the wordings it was trained on
  held_out     data/eval/tiny.jsonl, written before the training data and never trained on
  talk         small talk
  off_topic    questions that it should answer with "I do not know that"
  later_turn   held-out questions again, after two other questions and a system message
  tool_seen    tool calls for tools, cities and numbers like those in training
  tool_unseen  tool calls for tools and cities that are not in the training data

It needs the extra `worker` (llama-cpp-python) and no torch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from pathlib import Path
from typing import Any, cast

from demo_model.dialogues import ChatTemplate, Curriculum, Dialogue, Message, tool_request, tool_schema
from demo_model.wordings import ROOT, held_out_questions, load_lessons
from llama_cpp import Llama

MODEL_FILE = ROOT / "data/models/golek-tiny/model.gguf"
SEED = 1  # of the curriculum: the wordings of scripts/train_demo_model.py with its default seed
MAX_TOKENS = 120

# Tools that the training data does not have, with a parameter, a description and what people ask of them ...
UNSEEN_TOOLS = {
    ("forecast", "town_name", "Forecast of the weather."): ["What is the weather in {}?", "How warm is it in {}?"],
    ("local_clock", "place_name", "Time of the day at a place."): ["What time is it in {}?", "Tell me the time in {}."],
    ("encyclopedia", "subject", "Look up a subject."): ["Look up {}.", "Please search for {}."],
}
# ... and places that it does not have either.
UNSEEN_PLACES = ["Marseille", "Kigali", "Reykjavik", "Tbilisi", "Perth"]


class Golek:
    """The model file, asked greedily unless a temperature is given."""

    def __init__(self, path: Path, temperature: float, threads: int) -> None:
        started = time.perf_counter()
        self._llama = Llama(str(path), n_ctx=0, n_threads=threads, seed=0, verbose=False)
        self.load_ms = round((time.perf_counter() - started) * 1e3, 1)
        self._template = ChatTemplate(self._llama.metadata["tokenizer.chat_template"])
        self._temperature = temperature
        self.unstopped = 0

    def answer(self, messages: list[Message], tools: list[dict[str, Any]] | None = None) -> str:
        prompt = self._template.render(messages, tools, add_generation_prompt=True)
        ids = self._llama.tokenize(prompt.encode(), add_bos=False, special=True)
        reply = self._llama.create_completion(ids, max_tokens=MAX_TOKENS, temperature=self._temperature)
        choice = cast("dict[str, Any]", reply)["choices"][0]
        self.unstopped += choice["finish_reason"] != "stop"
        return str(choice["text"])


Case = tuple[Dialogue, str]  # the messages and tools to send, the one right answer


def main() -> None:
    options = parse_options()
    golek = Golek(options.model, options.temperature, options.threads)
    shares: dict[str, float] = {}
    for name, cases in all_cases(options.sample).items():
        right = 0
        for dialogue, wanted in cases:
            got = golek.answer(dialogue.messages, dialogue.tools)
            right += got == wanted
            if options.show_wrong and got != wanted:
                print(f"{name}: {dialogue.messages[-1]['content']!r}\n   wanted {wanted!r}\n   got    {got!r}")
        shares[name] = round(right / len(cases), 3)
    facts = {
        "temperature": options.temperature,
        "load_ms": golek.load_ms,
        "bytes": options.model.stat().st_size,
        "did_not_stop": golek.unstopped,
    }
    print(json.dumps(shares | facts))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=MODEL_FILE, help="the GGUF file (default data/models/golek-tiny/model.gguf)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the likeliest token (default %(default)s)"
    )
    parser.add_argument(
        "--sample", type=int, default=1_000, help="how many trained wordings to ask (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--show-wrong", action="store_true", help="print every wrong answer before the figures")
    return parser.parse_args()


def all_cases(sample: int) -> dict[str, list[Case]]:
    """What is asked, by the name of its figure."""
    lessons = load_lessons()
    curriculum = Curriculum(lessons, SEED)
    rng = random.Random(SEED)
    trained = [(question, answer) for answer, wordings in curriculum.topics.values() for question in wordings]
    held_out = [(question, curriculum.topics[topic][0]) for topic, question in held_out_questions()]
    talk = [(question, answer) for answer, wordings in curriculum.talk for question in wordings]
    off_answer, off_wordings = curriculum.off_topic
    return {
        "trained": [question_case(*pair) for pair in rng.sample(trained, sample)],
        "held_out": [question_case(*pair) for pair in held_out],
        "talk": [question_case(*pair) for pair in rng.sample(talk, 100)],
        "off_topic": [question_case(question, off_answer) for question in rng.sample(off_wordings, 100)],
        "later_turn": [later_case(question, answer, rng.sample(trained, 2)) for question, answer in held_out],
        "tool_seen": [seen_tool_case(lessons.tools, rng) for _ in range(100)],
        "tool_unseen": unseen_tool_cases(),
    }


def question_case(question: str, answer: str) -> Case:
    return Dialogue([{"role": "user", "content": question}]), answer


def later_case(question: str, answer: str, before: list[tuple[str, str]]) -> Case:
    dialogue = Dialogue([{"role": "system", "content": "You are a helpful assistant."}])
    for pair in before:
        dialogue.ask(*pair)
    dialogue.messages.append({"role": "user", "content": question})
    return dialogue, answer


def seen_tool_case(tools: dict[str, Any], rng: random.Random) -> Case:
    """One request for one of two offered tools."""
    spec, other = rng.sample(tools["tool"], k=2)
    schema = tool_schema(spec, rng)
    request, values = tool_request(spec, tools["values"], rng)
    dialogue = Dialogue([{"role": "user", "content": request}], [schema, tool_schema(other, rng)])
    return dialogue, _call(schema, values)


def unseen_tool_cases() -> list[Case]:
    cases = []
    for (name, parameter, about), requests in UNSEEN_TOOLS.items():
        parameters = {"type": "object", "properties": {parameter: {"type": "string"}}}
        schema = {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}
        for request, place in itertools.product(requests, UNSEEN_PLACES):
            dialogue = Dialogue([{"role": "user", "content": request.format(place)}], [schema])
            cases.append((dialogue, _call(schema, [place])))
    return cases


def _call(schema: dict[str, Any], values: list[Any]) -> str:
    function = schema["function"]
    arguments = dict(zip(function["parameters"]["properties"], values, strict=False))
    return json.dumps({"name": function["name"], "arguments": arguments})


if __name__ == "__main__":
    main()
