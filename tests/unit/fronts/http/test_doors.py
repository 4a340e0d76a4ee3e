"""Which doors are open, and to whom."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from cellserve_contract.params import PARAMETERS
from cellserve_contract.reasons import server_reasons
from cellserve_gateway.fronts.http.front import OPEN_PATHS
from fastapi.routing import iter_route_contexts

from .conftest import TOKEN, Serve


def paths(app: object) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in app.openapi()["paths"].items() for method in methods}


async def test_every_route_needs_a_token(serve: Serve, client: httpx.AsyncClient, tokens_file: Path):
    async with serve(tokens_file=tokens_file) as running:
        routes = {
            (method.lower(), context.path)
            for context in iter_route_contexts(running.front.app.routes)
            for method in context.methods or ()
        }
        assert routes >= paths(running.front.app)
        for method, path in sorted(routes):
            answer = await client.request(method, running.url + path)
            assert (answer.status_code == 401) is (path not in OPEN_PATHS), (method, path)
            print(method.upper(), path, answer.status_code)
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get(f"{running.url}/v1/models", headers=allowed)).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/segment", 405), ("GET", "/nothing", 404)])
async def test_unknown_paths(serve: Serve, client: httpx.AsyncClient, method: str, path: str, status: int):
    async with serve() as running:
        answer = await client.request(method, running.url + path)
        assert (answer.status_code, answer.json()["reason"]) == (status, "NOT_IMPLEMENTED")


@pytest.mark.parametrize(
    ("query", "reason", "facts"),
    [
        ("diameter=0.5", "PARAMETER_OUT_OF_RANGE", {"parameter": "diameter", "allowed": "1 to 10000 pixels"}),
        ("niter=many", "PARAMETER_OUT_OF_RANGE", {"parameter": "niter", "allowed": "1 to 10000"}),
        ("augment=perhaps", "PARAMETER_OUT_OF_RANGE", {"parameter": "augment", "allowed": "true or false"}),
        ("view=masks", "PARAMETER_OUT_OF_RANGE", {"parameter": "view", "allowed": "labels, overlay"}),
        ("diameter=30&diameter=40", "FIELD_INVALID", {"field": "diameter"}),
        ("nitre=30", "FIELD_INVALID", {"field": "nitre", "nearest": "niter"}),
    ],
)
async def test_refuses_parameters(serve: Serve, client: httpx.AsyncClient, query: str, reason: str, facts: dict):
    async with serve() as running:
        answer = await client.post(f"{running.url}/v1/segment?{query}", content=b"not read")
        problem = answer.json()
        assert (answer.status_code, problem["reason"], problem["metadata"]) == (400, reason, facts)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"", 400, "IMAGE_EMPTY"), (b"not an image", 400, "IMAGE_UNDECODABLE")],
)
async def test_refuses_images(serve: Serve, client: httpx.AsyncClient, body: bytes, status: int, reason: str):
    async with serve() as running:
        answer = await client.post(f"{running.url}/v1/segment", content=body)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nitre=30", "the query parameter 'nitre' is unknown; the nearest known name is 'niter'"),
        ("flow_thresh=.5", "the query parameter 'flow_thresh' is unknown; use flow_threshold"),
        ("chan2=3", "is unknown; use nucleus_channel. Planes are counted from 0"),
        ("do_3D=true", "the query parameter 'do_3D' is unknown; use stack_mode"),
    ],
)
async def test_unknown_parameters_are_named_or_translated(serve: Serve, client: httpx.AsyncClient, query, said):
    async with serve() as running:
        answer = await client.post(f"{running.url}/v1/segment?{query}", content=b"not read")
        assert said in answer.json()["detail"]


async def test_refuses_unsafe_request_ids(serve: Serve, client: httpx.AsyncClient):
    async with serve() as running:
        answer = await client.get(f"{running.url}/v1/models", headers={"X-Request-Id": b"\xe9" * 100})
        assert (answer.status_code, answer.json()["reason"]) == (400, "FIELD_INVALID")
        assert "x-request-id" not in answer.headers


async def test_describes_itself_without_internet(serve: Serve, client: httpx.AsyncClient):
    async with serve() as running:
        openapi = (await client.get(f"{running.url}/openapi.json")).json()
        described = {one["name"]: one for one in openapi["paths"]["/v1/segment"]["post"]["parameters"]}
        assert set(PARAMETERS) < set(described)
        assert described["diameter"]["schema"] == {"type": "number", "minimum": 1, "maximum": 10000}
        assert described["mask_rules"]["schema"]["enum"] == ["paper", "cellpose3"]
        page = await client.get(f"{running.url}/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "http" not in page.text.replace("http://HOST:PORT", "")
        assert "<script" not in page.text
        for one in PARAMETERS.values():
            assert f"<code>{one.name}</code>" in page.text
        for reason in server_reasons():
            assert f'id="{reason.name}"' in page.text


@pytest.mark.parametrize("path", ["/lab/cells/v1/models", "/v1/models"])
async def test_behind_a_prefix(serve: Serve, client: httpx.AsyncClient, path: str):
    """A proxy may remove the prefix from the path, or leave it."""
    async with serve(http_root_path="/lab/cells") as running:
        assert (await client.get(running.url + path)).status_code == 200
        problem = (await client.get(f"{running.url}/lab/cells/v1/models/nobody")).json()
        assert problem["type"] == "/lab/cells/docs#MODEL_UNKNOWN"
        assert (await client.get(f"{running.url}/openapi.json")).json()["servers"] == [{"url": "/lab/cells"}]


async def test_allows_origins(serve: Serve, client: httpx.AsyncClient):
    async with serve(http_allowed_origins="https://lab.example https://other.example") as running:
        url = f"{running.url}/v1/models"
        asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "GET"}
        preflight = await client.options(url, headers=asked | {"Access-Control-Request-Headers": "authorization"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
        answer = await client.get(url, headers={"Origin": "https://other.example"})
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        stranger = await client.get(url, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
    async with serve() as running:
        answer = await client.get(f"{running.url}/v1/models", headers={"Origin": "https://lab.example"})
        assert "access-control-allow-origin" not in answer.headers


def write_certificate(authority: trustme.CA, folder: Path) -> None:
    issued = authority.issue_cert("127.0.0.1")
    for name, content in (
        ("tls.crt", b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
        ("tls.key", issued.private_key_pem.bytes()),
    ):
        partial = folder / f"{name}.new"
        partial.write_bytes(content)
        partial.replace(folder / name)


def trusting(authority: trustme.CA, shown: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if shown:
        shown.issue_cert("caller@example.org").configure_cert(context)
    return context


async def reached(url: str, context: ssl.SSLContext) -> bool:
    try:
        async with httpx.AsyncClient(verify=context) as client:
            return (await client.get(url)).status_code == 200
    except (httpx.TransportError, ssl.SSLError):
        return False


async def test_renews_certificates_and_client_authorities(serve: Serve, tmp_path: Path):
    first, second, callers, others = (trustme.CA() for _ in range(4))
    write_certificate(first, tmp_path)
    callers.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    files = {"tls_certificate": "tls.crt", "tls_key": "tls.key", "tls_client_ca": "ca.crt"}
    async with serve(**{name: tmp_path / file for name, file in files.items()}) as running:
        url = f"{running.url}/v1/models"
        assert await reached(url, trusting(first, callers))
        assert not await reached(url, trusting(first))
        assert not await reached(url, trusting(first, others))
        (tmp_path / "tls.crt").write_text("half written")
        assert await reached(url, trusting(first, callers))
        write_certificate(second, tmp_path)
        others.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        assert await reached(url, trusting(second, others))
        assert not await reached(url, trusting(second, callers))
        assert not await reached(url, trusting(first, others))


async def test_silence_instead_of_a_handshake_ends(serve: Serve, tmp_path: Path):
    authority = trustme.CA()
    write_certificate(authority, tmp_path)
    files = {"tls_certificate": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key"}
    async with serve(http_idle_s=0.5, http_max_connections=4, **files) as running:
        silent = [await running.connect() for _ in range(8)]
        async with asyncio.timeout(5):
            for reader, _ in silent:
                assert await reader.read() == b""
        assert await reached(f"{running.url}/v1/models", trusting(authority))
