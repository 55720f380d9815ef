"""Who asks: the three modes, by table, and what may stand in a key file."""

import hashlib
import json

import pytest

from golek_wire import subjects
from golek_wire.errors import ForbiddenError, UnauthorizedError
from golek_wire.keys import Budget, Key, digest
from golek_worker.bus import keyfile
from golek_worker.bus.identity import Accounts, Keys, Open
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.job import Job
from tests.support.keys import Known

KNOWN = Known({digest("k-ann"): Key("ann"), digest("k-bob"): Key("bob", ["other", "nomic-embed-v1.5"])})


def info(**said: object) -> dict[str, str]:
    return {"Nats-Request-Info": json.dumps(said)}


def test_in_an_open_fleet_everybody_is_anonymous() -> None:
    """Whatever the headers claim, and where the server names an account alone; also with a key where none is known."""
    claims = info(acc="A") | {"Authorization": "Bearer k-ann", "Golek-Principal": "ann"}
    book = Known()
    book.denied = frozenset((digest("k-ann"),))
    for mode in (Open(), Open("tiny", book)):
        assert mode.principal(claims) == mode.principal(None) == "anonymous"


def test_the_first_key_of_an_open_fleet_is_looked_for() -> None:
    """Before its holder counts as anonymous. Without a key nothing is asked, nor for who gives an order: all may."""
    mode, brings = Open("tiny", Known()), {"Authorization": "Bearer k-ann"}
    for asks in (mode.principal, mode.caller):
        with pytest.raises(UnauthorizedError):
            asks(brings)
        assert asks({}) == asks({"Authorization": "k-ann"}) == "anonymous"
    assert mode.stranger(brings) == digest("k-ann")
    mode.may_order(brings)
    with pytest.raises(UnauthorizedError):
        Keys("tiny", Known()).may_order(brings)


def test_in_an_open_fleet_a_key_counts() -> None:
    """Its holder asks, with its models; a key that nobody knows is refused where there are any."""
    mode = Open("tiny", KNOWN)
    assert mode.principal({"Authorization": "Bearer k-ann"}) == "ann"
    assert mode.principal({}) == mode.principal({"Authorization": "Basic x"}) == "anonymous"
    with pytest.raises(ForbiddenError, match="bob is for other"):
        mode.principal({"Authorization": "Bearer k-bob"})
    with pytest.raises(UnauthorizedError, match="nobody knows this key"):
        mode.principal({"Authorization": "Bearer k-eve"})


def test_a_key_that_the_fleet_may_know_is_a_strangers() -> None:
    """Only such a one is worth a question: not one that is known, nor none, nor where the server says who asks."""
    for mode in (Open("tiny", KNOWN), Keys("tiny", KNOWN)):
        assert mode.stranger({"Authorization": "Bearer k-eve"}) == digest("k-eve")
        for headers in (None, {}, {"Authorization": "k-eve"}, {"Authorization": "Bearer k-bob"}):
            assert mode.stranger(headers) == ""
    assert Open().stranger({"Authorization": "Bearer k-eve"}) == ""
    assert Accounts().stranger({"Authorization": "Bearer k-eve"}) == ""


@pytest.mark.parametrize("mode", [Open(), Keys("tiny", KNOWN)])
def test_a_worker_that_does_not_tell_tenants_apart_refuses_them(mode: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """With the setting to change, also in its log, once; others are served as before."""
    with_key = {"Authorization": "Bearer k-ann"}
    for _ in range(2):
        with pytest.raises(ForbiddenError, match="GOLEK_NATS_IDENTITY=accounts"):
            mode.principal(info(acc="ALPHA", user="alice") | with_key)
    logged = capsys.readouterr().out
    assert logged.count("identity.tenants") == 1
    assert "ALPHA/alice" in logged
    assert mode.principal(with_key) in ("anonymous", "ann")


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"Authorization": "k-ann"}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic k-ann"},
     {"Authorization": f"Bearer {digest('k-ann')}"}, {"Authorization": "Bearer \udcff"},
     {"authorization": "Bearer k-ann"}],
)  # fmt: skip
def test_without_a_known_key_nobody_asks(headers: dict[str, str] | None) -> None:
    """No key, a wrong one, the digest instead of the key: 401, and the text of the key is not in the error."""
    with pytest.raises(UnauthorizedError) as raised:
        Keys("tiny", KNOWN).principal(headers)
    assert "k-ann" not in raised.value.message


def test_a_key_says_who_asks_and_which_models() -> None:
    """403 for a model that is not in its list; a model may be named by its token."""
    of_bob = {"Authorization": "bearer k-bob"}
    assert Keys("tiny", KNOWN).principal({"Authorization": "Bearer k-ann"}) == "ann"
    assert Keys("nomic-embed-v1.5", KNOWN).principal(of_bob) == "bob"
    with pytest.raises(ForbiddenError, match=r"The key bob is for other, nomic-embed-v1\.5"):
        Keys("tiny", KNOWN).principal(of_bob)


@pytest.mark.parametrize(
    "headers", [None, {}, {"Nats-Request-Info": ""}, {"Nats-Request-Info": "\udcff"}, {"Nats-Request-Info": "[" * 5000},
                info(acc="A"), info(user="u"), info(acc="A", user=7), info(acc="", user="u")],
)  # fmt: skip
def test_between_accounts_the_server_must_say_who_asks(headers: dict[str, str] | None) -> None:
    """Anything else is 401."""
    with pytest.raises(UnauthorizedError, match="share: true"):
        Accounts().principal(headers)


def test_a_principal_can_stand_in_a_key() -> None:
    """Account and user, with what a key cannot hold replaced."""
    assert Accounts().principal(info(acc="ALPHA", user="alice", rtt=3)) == "ALPHA/alice"
    assert Accounts().principal(info(acc="a.b", user="x y*>@é")) == "a_b/x_y____"


@pytest.mark.parametrize(
    ("reply", "one_account", "accounts"),
    [
        ("_INBOX.a.b", True, False), ("_R_.a.b", True, True), ("", False, False), ("_R_.*", False, False),
        ("_R_.>", False, False), ("_R_.a b", False, False), ("_R_", False, False), ("golek.dlq.x", False, False),
        ("inference.job.x.normal.any", False, False), ("$JS.API.STREAM.PURGE.GOLEK_DLQ", False, False),
        ("_INBOX.x" + "y" * 600, False, False), ("_INBOX..a", False, False), ("_INBOX.a\r\nPUB x", False, False),
    ],
)  # fmt: skip
def test_where_answers_may_go(reply: str, one_account: bool, accounts: bool) -> None:
    """Inboxes; between accounts only those that the server itself made."""
    assert Open().may_answer(reply) is Keys("m", Known()).may_answer(reply) is one_account
    assert Accounts().may_answer(reply) is accounts


def test_a_cancel_means_jobs_of_who_sent_it() -> None:
    """By the id that its client computes, or by the job's own; to another principal both mean nothing."""
    mode, inbox = Accounts(), "_INBOX.a.b"
    alice, bob = info(acc="A", user="alice"), info(acc="B", user="bob")
    computed = subjects.job_id(mode.request_name(alice | {"Nats-Msg-Id": inbox}))
    job = mode.owned(Job(computed, "", "_R_.a.b", False, "A/alice", 0, 1, inbox, {}))
    assert computed == subjects.job_id(inbox)
    assert job.job_id == job.msg_id == mode.cancelled(computed, alice) == mode.cancelled(job.job_id, alice)
    assert job.job_id not in (mode.cancelled(computed, bob), mode.cancelled(job.job_id, bob))
    assert mode.cancelled(job.job_id, {"Nats-Request-Info": "{}"}) == ""
    assert mode.cancelled(job.job_id, {}) == job.job_id, "whom the server does not name is of the fleet itself"
    assert Open().cancelled("x", None) == "x"
    assert Open().owned(job) is job
    assert mode.request_name(alice) == Open().request_name({"Nats-Msg-Id": inbox}) == ""


def test_a_key_file_is_read() -> None:
    """Keys in clear and hashed, fields, comments, two keys of one id."""
    hashed = hashlib.sha256(b"second").hexdigest()
    text = f"# keys\n\nann:first  # her old one\nann:sha256:{hashed.upper()} models=a,b rpm=60\nteam/x:with:colons\n"
    found = keyfile.rows(text, "keys.txt")
    assert found.keys == {
        digest("first"): Key("ann", source="file"),
        digest("second"): Key("ann", ["a", "b"], "file", rpm=60),
        digest("with:colons"): Key("team/x", source="file"),
    }
    assert found.remarks == []


def test_a_key_file_names_limits() -> None:
    """Each field is read as what it is, and a field that nobody knows is told with its line, not with its key."""
    text = "a:k1 rpm=60 tpm=100000 concurrent=4 budget=1000000/day expires=2026-12-31 rmp=7\nb:k2 budget=20req/total\n"
    found = keyfile.rows(text + "c:k3 budget=5 expires=2026-12-31T18:00:00+02:00\n", "keys.txt")
    assert list(found.keys.values()) == [
        Key("a", source="file", rpm=60, tpm=100000, concurrent=4, budget=Budget(1000000, "tokens", "day"),
            expires="2026-12-31T00:00:00Z"),
        Key("b", source="file", budget=Budget(20, "requests", "total")),
        Key("c", source="file", budget=Budget(5, "tokens", "month"), expires="2026-12-31T16:00:00Z"),
    ]  # fmt: skip
    (remark,) = found.remarks
    assert remark.startswith("keys.txt:1: nobody knows the field rmp")
    assert "k1" not in remark


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("s3cr3t", "not of the form key_id:api_key"),
        ("ann:", "not of the form key_id:api_key"),
        ("a.b:s3cr3t", "a key_id has at most 128"),
        ("anonymous:s3cr3t", "a key_id has at most 128"),
        ("ann:sha256:s3cr3t", "64 hexadecimal digits"),
        ("ann:s3cr3t models", "name=value"),
        ("ann:s3cr3t source=x", "name=value"),
        ("ann:s3cr3t rpm=0", "rpm=0: a whole number from 1"),
        ("ann:s3cr3t tpm=1e6", "tpm=1e6: a whole number from 1"),
        ("ann:s3cr3t concurrent=-1", "concurrent=-1: a whole number from 1"),
        ("ann:s3cr3t rpm=1 rpm=2", "rpm: stands twice"),
        ("ann:s3cr3t models=,", "models=,: names of models"),
        ("ann:s3cr3t budget=5/week", "budget=5/week: tokens from 1 to"),
        ("ann:s3cr3t budget=0", "budget=0: tokens from 1 to"),
        ("ann:s3cr3t expires=soon", "expires=soon: a day as 2026-12-31"),
        ("bob:k-1", "stands in another line"),
    ],
)
def test_a_wrong_line_is_named_without_its_key(line: str, said: str) -> None:
    """File and line number, and what is right."""
    with pytest.raises(KeyFileError) as raised:
        keyfile.rows(f"ann:k-1\n{line}\n", "keys.txt")
    assert str(raised.value).startswith("keys.txt:2: ")
    assert said in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


def test_a_key_in_another_form_is_not_called_missing() -> None:
    """Who forgot `Bearer` is told that it is the form."""
    for headers, said in (({}, "the request has none"), ({"Authorization": "k-ann"}, "the header has another form")):
        with pytest.raises(UnauthorizedError, match=said):
            Keys("tiny", KNOWN).principal(headers)
