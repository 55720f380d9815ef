"""What exactly the model of a step is asked, and that chat templates of several families take it."""

from typing import Any

import pytest

from golek_wire.requests import InferenceRequest, JsonSchema, Message, Params, ResponseFormat
from golek_wire.routing import CacheWish, RouteWish
from golek_worker.orchestration.base import COMPRESSOR, CRITIC, PARTICIPANT, RECONCILER, Case, Material, Step
from golek_worker.orchestration.budgets import by_rule
from golek_worker.orchestration.composing import JUDGED_TOKENS, compose, step_seed
from golek_worker.orchestration.conversation import added, folded
from golek_worker.orchestration.handoff import HandoffState
from golek_worker.prompt.base import as_dict
from golek_worker.prompt.templates import ChatTemplate
from tests.support.orchestrating import LARGE, PROMPTS, SMALL, asked, case_of, generated, step_of
from tests.support.templates import FAMILIES, KNOW_TOOLS

STATE = HandoffState("r1", "What is NATS?", 1, 2)
DRAFT = Material("Draft", "NATS is a bus.", "small")
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call00000", "type": "function", "function": {"name": "find", "arguments": '{"x": 1}'}}
USER, ANSWER = Message("user", "What is NATS?"), Message("assistant", "A bus.")
ASKS = Message("assistant", None, tool_calls=[CALL])
GAVE = Message("tool", "a needle", tool_call_id="call00000", name="find")
SYSTEM = Message("system", "Be brief.")
CONVERSATIONS = {
    "question": [USER],
    "further": [USER, ANSWER, USER],
    "result": [USER, ASKS, GAVE],
    "former result": [USER, ASKS, GAVE, ANSWER, USER],
    "two results": [USER, ASKS, GAVE, ASKS, GAVE],
    "ends with an answer": [USER, ANSWER],
}
STEPS = [
    generated(),
    Step("answer", LARGE, PARTICIPANT),
    step_of("critique", LARGE, DRAFT, duty=CRITIC),
    step_of("reconcile", LARGE, Material("Answer of a", "x"), Material("Answer of b", "y"), duty=RECONCILER),
    step_of("refine", LARGE, DRAFT),
    step_of("compress", LARGE, Material("Text", "long"), duty=COMPRESSOR),
]


def made(step: Step, request: InferenceRequest, **more: Any) -> InferenceRequest:
    return compose(step, case_of(request), STATE, PROMPTS, **more)


def rendered(family: str, request: InferenceRequest) -> str:
    template = ChatTemplate(FAMILIES[family], "<s>", "</s>")
    return template.render([as_dict(message) for message in request.messages or []], request.tools or [])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_template_takes_every_step_of_every_conversation(family: str, conversation: str, step: Step) -> None:
    """What a step adds breaks no rule of theirs, though some know no system, no tools, and no two turns of a user. All
    that was said is in the prompt.
    """
    text = rendered(family, made(step, InferenceRequest(messages=CONVERSATIONS[conversation])))
    assert "What is NATS?" in text
    assert "## Current Position" in text
    assert all(f"## {one.title}\n{one.text}" in text for one in step.reads)
    assert ("a needle" in text) == ("result" in conversation)


@pytest.mark.parametrize("family", KNOW_TOOLS)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_step_that_acts_goes_on_with_calls_as_they_were(family: str, conversation: str) -> None:
    """Tools are offered, calls and results keep their roles, and no turn of a user follows a result: strict templates
    refuse that.
    """
    turns = CONVERSATIONS[conversation]
    request = made(generated(acts=True), InferenceRequest(messages=turns, tools=[TOOL], tool_choice="auto"))
    assert request.tools == [TOOL]
    assert [turn.role for turn in request.messages or []][: len(turns)] == [turn.role for turn in turns]
    text = rendered(family, request)
    assert "## Current Position" in text
    assert ("a needle" in text) == ("result" in conversation)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gemma-2"])
def test_the_systems_words_stay_where_they_were(family: str) -> None:
    """They are the caller's own; gemma-2 refuses them with or without a step."""
    request = made(STEPS[0], InferenceRequest(messages=[SYSTEM, USER]))
    assert request.messages is not None
    assert request.messages[0] == SYSTEM
    if family != "deepseek-r1":
        assert "Be brief." in rendered(family, request)


def test_the_whole_prompt_of_a_stage() -> None:
    """The caller's words, what it reads, what is known, where it stands, what to do; word for word."""
    state = HandoffState("r1", "What is NATS?", 2, 3, ["3 nodes", "Open: which port"], ["use NATS"],
                         ["https://nats.io"], ["no unit"])  # fmt: skip
    request = compose(step_of("refine", LARGE, DRAFT), case_of(asked()), state, PROMPTS)
    assert request.messages == [
        Message(
            "user",
            "What is NATS?\n\n## Draft\nNATS is a bus.\n\n"
            "## Known so far\n- Constraint: 3 nodes\n- Open: which port\n- Decided: use NATS\n"
            "- Evidence: https://nats.io\n- Error to avoid: no unit\n\n"
            "## Current Position\n- Goal: What is NATS?\n- Step: 2/3 - refine\n- Previous: use NATS\n"
            f"- Next: {PROMPTS.of('refine').goal}\n- Forbidden: {PROMPTS.of('refine').forbidden}\n\n"
            f"{PROMPTS.instruction(step_of('refine'))}",
        )
    ]


def test_the_beginning_is_the_same_for_all_steps() -> None:
    """So that a model which is asked twice finds the conversation in its KV cache."""
    turns = [USER, ANSWER, Message("user", "And JetStream?")]
    for step in STEPS:
        messages = made(step, InferenceRequest(messages=turns)).messages or []
        assert messages[:2] == turns[:2]
        assert (messages[2].content or "").startswith("And JetStream?\n\n")


def test_single_is_asked_as_if_there_were_no_orchestration() -> None:
    """But for what belongs to the caller's request as a whole."""
    request = asked(
        orchestration_mode="single", seed=4, stream=True, tools=[TOOL], params=Params(logit_bias={"5": 1.0}),
        metadata={"a": 1}, priority=3,
    )  # fmt: skip
    step = Step("answer", LARGE, "generator", is_final=True, acts=True)
    expected = asked(seed=4, stream=True, tools=[TOOL], params=Params(logit_bias={"5": 1.0}), priority=3)
    assert compose(step, case_of(request, "single"), STATE, PROMPTS) == expected


def test_nothing_of_the_callers_own_is_passed_on() -> None:
    """Session, resumption, reply subject, deadline and metadata are the whole request's; what is private stays so."""
    request = asked(
        session_id="s", resumable=True, stream=True, reply_to="a.b", metadata={"token": "x"}, deadline_ms=5, user="ann",
        route=RouteWish(policy="never_cloud"), orchestration_mode="critique", priority=1,
    )  # fmt: skip
    step = made(STEPS[4], request)
    assert (step.session_id, step.resumable, step.reply_to, step.metadata, step.deadline_ms) == (
        None, False, None, None, None,
    )  # fmt: skip
    assert (step.orchestration_mode, step.orchestration, step.stream) == (None, None, False)
    assert step.cache == CacheWish(user_specific=True)
    assert (step.user, step.route, step.priority) == ("ann", RouteWish(policy="never_cloud"), 1)


def test_answers_are_sampled_as_the_caller_wishes_and_judgements_are_not() -> None:
    """Of the caller's wishes a critique has none: it is greedy, limited, and held to its schema where that can be."""
    form = ResponseFormat("json_object")
    params = Params(max_tokens=50, temperature=1.5, stop=["."], logit_bias={"7": 2.0}, stop_token_ids=[3])
    request = asked(params=params, response_format=form, reasoning_effort="low")
    answer = made(STEPS[0], request)
    assert answer.params == Params(max_tokens=50, temperature=1.5, stop=["."])
    assert (answer.response_format, answer.reasoning_effort) == (form, "low")
    schema = {"type": "object"}
    judged = made(Step("critique", LARGE, CRITIC, reads=(DRAFT,), schema=schema), request)
    assert judged.params == Params(max_tokens=JUDGED_TOKENS, temperature=0)
    assert judged.response_format == ResponseFormat("json_schema", JsonSchema(schema, "critique"))
    assert judged.reasoning_effort is None
    small = made(Step("critique", SMALL, CRITIC, reads=(DRAFT,)), request, budget=by_rule(512))
    assert small.params.max_tokens == by_rule(512).generation // 2
    assert small.response_format is None


def test_tools_are_offered_to_the_step_that_acts_alone() -> None:
    """And not where the caller forbade to call any."""
    request = asked(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    acting, watching = made(generated(acts=True), request), made(generated(), request)
    assert (acting.tools, acting.tool_choice, acting.parallel_tool_calls) == ([TOOL], "required", False)
    assert (watching.tools, watching.tool_choice, watching.parallel_tool_calls) == (None, None, None)
    forbidden = asked(tools=[TOOL], tool_choice="none")
    assert made(generated(acts=True), forbidden).tools is None


def test_equal_requests_have_equal_steps_and_each_draw_its_own() -> None:
    """Seeds come of the caller's, the step and its draw; without the caller's there is none."""
    steps = [generated(), generated("revise"), generated(round=2), generated(draw=1), generated(member=SMALL)]
    seeds = [made(step, asked(seed=7)).seed for step in steps]
    assert seeds == [made(step, asked(params=Params(seed=7))).seed for step in steps]
    assert len({*seeds, 7}) == len(steps) + 1
    assert made(steps[0], asked(seed=8)).seed != seeds[0]
    assert made(steps[0], asked(seed=7), fresh=True).seed != seeds[0]
    assert seeds[0] == step_seed(7, steps[0])
    assert made(steps[0], asked()).seed is None
    assert made(steps[0], asked(params=Params(seed=7))).params.seed is None


def test_images_of_the_last_turn_stay() -> None:
    """What is added is one more part, so that a model with eyes sees both."""
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    turn = Message("user", "What is this?", parts=parts)
    (found,) = made(STEPS[0], InferenceRequest(messages=[turn])).messages or []
    assert found.parts is not None
    assert found.parts[:2] == parts
    assert found.content == f"What is this?\n\n{found.parts[2]['text']}"


def test_calls_without_tools_become_text() -> None:
    """Of the turn before; what the assistant said beside its call is kept, and results of one turn have one heading."""
    asks = Message("assistant", "Let me look.", tool_calls=[CALL])
    assert folded([USER, asks, GAVE, GAVE, ANSWER]) == [
        Message(
            "user",
            "What is NATS?\n\nLet me look.\n\n## Results of tools\n"
            'find({"x": 1}) gave:\na needle\n\nfind({"x": 1}) gave:\na needle',
        ),
        ANSWER,
    ]
    assert added([], "x") == [Message("user", "x")]


def test_a_case_keeps_its_request() -> None:
    """Composing changes nothing in place."""
    request = InferenceRequest(messages=list(CONVERSATIONS["two results"]))
    case: Case = case_of(request)
    for step in STEPS:
        compose(step, case, STATE, PROMPTS)
    assert request.messages == CONVERSATIONS["two results"]
