"""What `--model` may say, and that a setting which does nothing for it is refused."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from upwell.engines.endpoint import Endpoint, parse_endpoints
from upwell.engines.opening import find_model
from upwell.engines.settings import EngineSettings
from upwell.errors import UsageError

SERVER = "server:http://127.0.0.1:9/v1#org/some-model"


@pytest.mark.parametrize(
    ("text", "urls", "name"),
    [
        ("http://h:8000#m", ["http://h:8000/v1"], "m"),
        ("http://h:8000/#m", ["http://h:8000/v1"], "m"),
        ("https://h/api/v1/#org/m", ["https://h/api/v1/"], "org/m"),
        ("http://a/v1,http://b/v1#m", ["http://a/v1", "http://b/v1"], "m"),
        ("http://[::1]:8000/v1#m", ["http://[::1]:8000/v1"], "m"),
    ],
)
def test_where_a_server_is(text: str, urls: list[str], name: str) -> None:
    endpoints, found = parse_endpoints(text, None)
    assert [endpoint.url for endpoint in endpoints] == urls and found == name
    assert endpoints[0].at("models").endswith("/v1/models")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://h:8000", "does not say URL#NAME"),
        ("#m", "does not say URL#NAME"),
        ("http://h/v1#", "does not say URL#NAME"),
        ("h:8000#m", "no http or https URL"),
        ("ftp://h#m", "no http or https URL"),
        ("http://h:port/v1#m", "no http or https URL"),
        ("http://a/v1,http://a/v1#m", "stands twice"),
    ],
)
def test_where_no_server_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_endpoints(text, None)
    assert caught.value.hint


def test_secrets_stay_out_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "very-secret")
    text = "https://me:password@h.example/v1?token=abc#m"
    (endpoint,), _ = parse_endpoints(text, "SOME_KEY")
    assert (
        endpoint.key == "very-secret"
        and "password" in endpoint.at("models")
        and "abc" in endpoint.at("models")
    )
    model = find_model(f"server:{text}", EngineSettings(key_env="SOME_KEY"))
    for written in (endpoint.shown, repr(endpoint), repr(model), str(model.entry()), model.identity):
        assert not any(secret in written for secret in ("very-secret", "password", "abc", "me:"))
    assert b"very-secret" not in pickle.dumps(model), "a worker gets the key by a way of its own"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(UsageError, match="SOME_KEY is not set"):
        parse_endpoints(text, "SOME_KEY")


def test_what_a_model_is(tiny_llama: Path) -> None:
    here = find_model(str(tiny_llama), EngineSettings(dtype="float32"))
    assert here.kind == "embedded" and here.checkpoint is not None and not here.chat_by_server and here.local
    served = find_model(SERVER, EngineSettings())
    assert (
        served.kind == "server" and served.name == "org/some-model" and served.chat_by_server and served.local
    )
    assert "127.0.0.1" not in served.identity, "a server may move"
    templated = find_model(SERVER, EngineSettings(chat_template=str(tiny_llama)))
    assert templated.chat is not None and templated.identity != served.identity
    local = find_model(f"vllm:{tiny_llama}", EngineSettings())
    assert local.kind == "vllm" and local.chat == local.checkpoint and local.identity.startswith("vllm")
    batch = find_model("batch:https://h.example/v1#m", EngineSettings())
    assert batch.kind == "batch" and not batch.local
    names = {here.identity, served.identity, local.identity, batch.identity}
    assert len(names) == 4


def test_a_chat_template_is_taken_from_a_folder_without_weights(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert find_model(SERVER, EngineSettings(chat_template=str(folder))).chat is not None
    (folder / "chat_template.jinja").write_text("")
    with pytest.raises(UsageError, match="has no chat template"):
        find_model(SERVER, EngineSettings(chat_template=str(folder)))


OTHER: dict[str, Any] = {
    "dtype": "float32", "device": "cpu", "slots": 3, "memory_gb": 1.0, "threads": 1, "key_env": "HOME",
    "chat_template": "x", "dialect": "vllm", "max_concurrency": 4, "requests_per_minute": 10.0,
    "tokens_per_minute": 10.0, "choices_per_call": 2, "request_timeout": 1.0, "patience": 1.0,
    "vllm_python": "python", "vllm_arg": ("--enforce-eager",), "batch_rows": 10, "batch_mb": 1.0, "poll_seconds": 1.0,
    "replicas": 2, "gpus_per_replica": 1.0, "cpus_per_replica": 2.0,
}  # fmt: skip
FREE_FOR_ALL = {"logprobs", "ray", "price", "prices", "max_usd", "max_total_tokens"}
KINDS = ("embedded", "server", "vllm", "batch")


def test_every_setting_is_for_some_kind_or_for_all() -> None:
    assert {field.name for field in dataclasses.fields(EngineSettings)} == OTHER.keys() | FREE_FOR_ALL


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_that_does_nothing_is_refused(name: str) -> None:
    settings = EngineSettings(**{name: OTHER[name]})
    refused = []
    for kind in KINDS:
        try:
            settings.check_used(kind, "the-model")
        except UsageError as error:
            flag = "--" + name.replace("_", "-")
            assert (
                f"{flag} does nothing for `the-model`" in error.message and error.hint == f"leave {flag} out"
            )
            refused.append(kind)
    assert refused, "it must be idle somewhere, or stand among those for all"
    if name.endswith(("replicas", "per_replica")):
        dataclasses.replace(settings, ray="local").check_used("embedded", "m")
    else:
        assert len(refused) < len(KINDS)


def test_ray_replicates_what_has_no_servers_of_its_own() -> None:
    for kind in ("vllm", "batch"):
        with pytest.raises(UsageError, match=f"does not replicate `m`: a {kind} engine has servers"):
            EngineSettings(ray="local").check_used(kind, "m")


@pytest.mark.parametrize(
    "bad",
    [
        {"max_concurrency": 0}, {"choices_per_call": 0}, {"replicas": 0}, {"batch_rows": 0}, {"max_total_tokens": 0},
        {"requests_per_minute": 0.0}, {"tokens_per_minute": -1.0}, {"request_timeout": 0.0}, {"patience": 0.0},
        {"batch_mb": 0.0}, {"poll_seconds": 0.0}, {"max_usd": 0.0}, {"max_usd": float("nan")},
        {"gpus_per_replica": -1.0}, {"cpus_per_replica": 0.0}, {"dialect": "klingon"},
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    (name,) = bad
    with pytest.raises(UsageError, match=name.replace("_", "[-_]")) as caught:
        EngineSettings(**bad)
    assert caught.value.hint and caught.value.hint.startswith("--")


def test_an_endpoint_on_this_machine_is_known() -> None:
    for url in ("http://localhost:1/v1", "http://127.0.0.1/v1", "http://[::1]:1/v1"):
        assert Endpoint(url).local
    for url in ("http://example.com/v1", "http://128.0.0.1/v1"):
        assert not Endpoint(url).local


def test_an_address_alone_is_led_to_a_server_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="--judge is an address") as caught:
        find_model("https://me:password@h.example/v1#m", EngineSettings(), flag="--judge")
    assert caught.value.hint == "--judge server:URL#NAME" and "password" not in str(caught.value)


def test_errors_name_the_flag_that_said_the_model() -> None:
    with pytest.raises(UsageError) as told:
        find_model("nowhere", EngineSettings(), flag="--teacher")
    assert told.value.hint is not None and told.value.hint.startswith("use --teacher ")
