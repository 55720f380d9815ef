"""As whom clients and workers connect, over which kind of line, and what they are told when that is refused."""

import asyncio
from pathlib import Path

import pytest

from golek_client import BadRequestError, BusUnavailableError, Golek, InferenceServiceError, UnauthorizedError
from golek_client.connection import close, connect
from golek_client.login import Login
from golek_worker import settings
from golek_worker.bus import embedded
from tests.support.broker import NatsServer
from tests.support.certificates import Authority, Signed
from tests.support.logins import credentials, nkey
from tests.support.workers import WorkerProcess

SECRET = "s3cr3t-s3cr3t"


class Line:
    """An authority, and a server with a certificate of it that asks clients for one, too."""

    def __init__(self, folder: Path, *, mutual: bool = True, options: tuple[str, ...] = ()) -> None:
        self.authority = Authority(folder / "certs")
        self.mine = self.authority.sign("server", "IP:127.0.0.1", "DNS:localhost")
        self.client = self.authority.sign("client")
        ask = ", verify: true" if mutual else ""
        files = f'cert_file: "{self.mine.cert}", key_file: "{self.mine.key}", ca_file: "{self.authority.file}"'
        tls = f"tls {{ {files}{ask} }}"
        self.server = NatsServer(folder, tls, *options)

    def login(self, shown: Signed | None = None) -> Login:
        """Trusts the authority, and shows a certificate."""
        shown = shown or self.client
        return Login(tls_ca=self.authority.file, tls_cert=shown.cert, tls_key=shown.key)


async def let_in(url: str, login: Login) -> bool:
    """Whether a connection stands and carries a message."""
    client = await connect(url, "test", login=login)
    try:
        await client.flush()
        return True
    finally:
        await close(client)


async def refused(url: str, login: Login) -> InferenceServiceError:
    """The error instead of a connection; it comes within 5 s, in one sentence and without a secret."""
    with pytest.raises(InferenceServiceError) as raised:
        async with asyncio.timeout(5):
            await let_in(url, login)
    error: BaseException | None = raised.value
    while error is not None:
        assert SECRET not in f"{error!r} {error} {getattr(error, 'details', '')}"
        error = error.__cause__
    assert "\n" not in raised.value.message
    return raised.value


async def test_a_user_a_token_an_nkey_and_a_credentials_file_open_the_door(tmp_path: Path) -> None:
    """Each way to log in that the server knows, and the user in the URL wins over the one beside it."""
    mine, other = nkey(), nkey()
    seed = tmp_path / "user.nk"
    seed.write_text(mine.seed + "\n")
    server = NatsServer(
        tmp_path, f"authorization {{ users: [ {{user: ann, password: {SECRET}}}, {{nkey: {mine.public}}} ] }}"
    ).start()
    try:
        assert await let_in(server.url, Login(user="ann", password=SECRET))
        assert await let_in(server.url, Login(nkey=str(seed)))
        url = server.url.replace("//", f"//ann:{SECRET}@")
        assert await let_in(url, Login(user="bob", password="no"))
        seed.write_text(other.seed)
        wrong = {
            "whoever has no login": (server.url, Login()),
            "this user and password": (server.url, Login(user="ann", password=SECRET + "x")),
            f"the user of {seed}": (server.url, Login(nkey=str(seed))),
            "the login in the URL": (server.url.replace("//", "//ann:no@"), Login()),
        }
        for said, (where, login) in wrong.items():
            error = await refused(where, login)
            assert isinstance(error, UnauthorizedError)
            assert f"{server.url} refuses {said};" in error.message
            assert "NATS_CREDS" in error.message
    finally:
        server.kill()


async def test_a_token_and_a_credentials_file_open_the_door(tmp_path: Path) -> None:
    """A token where the server has one, and the JWT of a server that knows its operator."""
    operated = credentials(tmp_path)
    for number, (options, login) in enumerate(
        [
            ((f"authorization {{ token: {SECRET} }}",), Login(token=SECRET)),
            (operated.options, Login(creds=str(operated.creds))),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = NatsServer(folder, *options, jetstream=False).start()
        try:
            assert await let_in(server.url, login)
            assert isinstance(await refused(server.url, Login()), UnauthorizedError)
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (Login(creds="/no/such.creds"), "NATS_CREDS=/no/such.creds: No such file"),
        (Login(creds="pyproject.toml"), "NATS_CREDS=pyproject.toml: is no credentials file"),
        (Login(nkey="pyproject.toml"), "NATS_NKEY=pyproject.toml: is no nkey seed"),
        (Login(tls_ca="/no/ca.pem"), "NATS_TLS_CA=/no/ca.pem: No such file"),
        (Login(tls_ca="pyproject.toml"), "NATS_TLS_CA=pyproject.toml: is no PEM certificate"),
        (Login(tls_cert="pyproject.toml"), "NATS_TLS_CERT=pyproject.toml: is no PEM certificate"),
        (Login(tls_key="k.pem"), "NATS_TLS_KEY: is the key of a certificate"),
        (Login(user="ann"), "NATS_USER and NATS_PASSWORD go together"),
        (Login(token=SECRET, creds="x"), "NATS_TOKEN: one way to log in is enough, and NATS_CREDS says another"),
    ],
)
async def test_a_login_that_cannot_be_used_is_named(login: Login, said: str) -> None:
    """The variable, the file and what is wrong with it, before anybody is asked."""
    error = await refused("nats://127.0.0.1:1", login)
    assert isinstance(error, BadRequestError)
    assert said in error.message


async def test_worker_and_client_speak_tls_and_show_their_certificates(tmp_path: Path) -> None:
    """A whole request over mutual TLS, with the settings of the worker and the variables of the client."""
    line = Line(tmp_path)
    line.server.start()
    known = {"NATS_TLS_CA": line.authority.file, "NATS_TLS_CERT": line.client.cert, "NATS_TLS_KEY": line.client.key}
    try:
        url = line.server.url.replace("nats://127.0.0.1", "tls://localhost")
        with WorkerProcess(url, tmp_path / "data", **known):
            async with Golek(line.server.url, login=Login.from_environment(known)) as golek:
                assert (await golek.ask("echo", "over TLS", deadline=5)).text == "over TLS"
        assert await embedded.is_up(url, login=line.login())
    finally:
        line.server.kill()


async def test_a_wrong_certificate_is_told_apart(tmp_path: Path) -> None:
    """Unknown authority, another host's certificate, none of ours, one of strangers: a sentence each, with the URL."""
    line = Line(tmp_path)
    strangers = Authority(tmp_path / "strangers")
    line.server.start()
    try:
        url = line.server.url
        cases = [
            (url, Login(tls_cert=line.client.cert, tls_key=line.client.key), "is not trusted", "NATS_TLS_CA"),
            (url, Login(), "is not trusted", "NATS_TLS_CA"),
            (url, line.login(strangers.sign("stranger")), "does not accept our certificate", "NATS_TLS_CERT"),
            (url, Login(tls_ca=line.authority.file), "does not accept our certificate", "NATS_TLS_CERT"),
        ]
        for asked, login, problem, remedy in cases:
            error = await refused(asked, login)
            assert isinstance(error, BusUnavailableError)
            assert problem in error.message
            assert remedy in error.message
            assert asked in error.message
    finally:
        line.server.kill()


async def test_a_certificate_for_another_host_is_named(tmp_path: Path) -> None:
    """The URL must name the server as its certificate does."""
    authority = Authority(tmp_path)
    mine = authority.sign("server", "DNS:broker.example")
    server = NatsServer(tmp_path, f'tls {{ cert_file: "{mine.cert}", key_file: "{mine.key}" }}').start()
    try:
        error = await refused(server.url, Login(tls_ca=authority.file))
        assert "is for another host" in error.message
        assert server.url in error.message
        with pytest.raises(embedded.BrokerError, match="is for another host"):
            await embedded.is_up(server.url, login=Login(tls_ca=authority.file))
    finally:
        server.kill()


async def test_tls_that_was_asked_for_is_never_left_out(tmp_path: Path) -> None:
    """A server without TLS gets no password of who asked for it; one that only offers TLS is taken at its word."""
    authority = Authority(tmp_path)
    mine = authority.sign("server", "IP:127.0.0.1")
    plain, offering = NatsServer(tmp_path), tmp_path / "offering"
    offering.mkdir()
    tls = f'tls {{ cert_file: "{mine.cert}", key_file: "{mine.key}" }}\nallow_non_tls: true'
    either = NatsServer(offering, tls).start()
    plain.start()
    try:
        login = Login(tls_ca=authority.file, user="ann", password=SECRET)
        assert "offers no TLS" in (await refused(plain.url, login)).message
        assert "offers no TLS" in (await refused(plain.url.replace("nats:", "tls:"), Login())).message
        client = await connect(either.url, "test", login=login)
        assert client._transport._io_writer.get_extra_info("ssl_object") is not None
        await close(client)
    finally:
        plain.kill()
        either.kill()


async def test_a_server_that_wants_tls_from_the_first_byte_gets_it(tmp_path: Path) -> None:
    """NATS_TLS_FIRST, which a proxy that ends TLS in front of the server needs as well."""
    authority = Authority(tmp_path)
    mine = authority.sign("server", "IP:127.0.0.1")
    first = f'tls {{ cert_file: "{mine.cert}", key_file: "{mine.key}", handshake_first: true }}'
    server = NatsServer(tmp_path, first).start()
    try:
        login = Login(tls_ca=authority.file, tls_first=True)
        assert await let_in(server.url, login)
        assert await embedded.is_up(server.url, login=login)
    finally:
        server.kill()


async def test_a_server_that_hangs_up_after_tls_is_no_complaint_of_asyncio(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would go to standard error, below the sentence that says what is wrong; nor when the server ends later."""
    line = Line(tmp_path, mutual=False, options=(f"authorization {{ user: ann, password: {SECRET} }}",))
    line.server.start()
    try:
        await refused(line.server.url, Login(tls_ca=line.authority.file, user="ann", password="no"))
        login = Login(tls_ca=line.authority.file, user="ann", password=SECRET)
        client = await connect(line.server.url, "test", login=login)
        line.server.stop()
        async with asyncio.timeout(20):
            while client.is_connected:
                await asyncio.sleep(0.01)
        await close(client)
    finally:
        line.server.kill()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_worker_that_is_refused_says_so_and_ends(tmp_path: Path) -> None:
    """No traceback, no secret: in its state and in its log."""
    server = NatsServer(tmp_path, f"authorization {{ user: ann, password: {SECRET} }}").start()
    worker = WorkerProcess(server.url, tmp_path / "data", NATS_USER="ann", NATS_PASSWORD=SECRET + "x")
    try:
        assert worker.start_failing().count(f"the NATS server at {server.url} refuses this user and password") == 1
        assert "Traceback" not in worker.log.read_text()
    finally:
        server.kill()
    written = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert written
    assert [text for text in written if SECRET.encode() in text] == []


def test_a_password_in_the_url_is_not_written_down(tmp_path: Path) -> None:
    """Neither the run file nor a log of a worker that serves holds it."""
    server = NatsServer(tmp_path, f"authorization {{ user: ann, password: {SECRET} }}").start()
    try:
        with WorkerProcess(server.url.replace("//", f"//ann:{SECRET}@"), tmp_path / "data") as worker:
            written = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
            assert worker.state() is not None
    finally:
        server.kill()
    assert [text for text in written if SECRET.encode() in text] == []


def test_the_settings_check_the_login(tmp_path: Path) -> None:
    """`golek worker check` tells a wrong file with all other mistakes, and shows no secret."""
    file = tmp_path / "worker.x.env"
    file.write_text(f"MODEL_NAME=x\nNATS_CREDS=/no/such\nNATS_PASSWORD={SECRET}\nNATS_USER=ann\n")
    _, mistakes = settings.read(file, {})
    assert [mistake.partition(":")[0] for mistake in mistakes] == ["NATS_USER"]
