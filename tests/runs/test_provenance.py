"""What is written down about code, machine and command line, and what must not be."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import upwell
from upwell.errors import UsageError
from upwell.runs import code_version, digest_file, machine, package_versions, scrub_command, scrub_url


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("https://user:pass@host/v1?key=s#frag", "https://host/v1"),
        ("https://user@host", "https://host"),
        ("https://u:p@ss@host:1/x", "https://host:1/x"),
        ("https://u:p/a?s#s@host/v1", "https://host/v1"),
        ("http://[::1]:8000/v1?x=1", "http://[::1]:8000/v1"),
        ("http://host:8000/org/model@main", "http://host:8000/org/model@main"),
        ("hf://org/model@main", "hf://org/model@main"),
        ("server:http://u:p@h/v1", "server:http://h/v1"),
        ('see http://a:b@c/d?e, or "https://f@g/h?i".', 'see http://c/d or "https://g/h".'),
        ("http://[broken?q", "http://[broken"),
        ("runs/a?b", "runs/a?b"),
        ("", ""),
    ],
)
def test_scrub_url(url: str, clean: str) -> None:
    assert scrub_url(url) == clean


def test_scrub_command_hides_secrets_and_nothing_else() -> None:
    key = "sk-" + "a1" * 12
    shown = [
        ("--api-key S1", "--api-key ***"),
        ("--api_key=S2 --hf-token S3 -k 5", "--api_key=*** --hf-token *** -k 5"),
        ("--max-tokens 512 --eos-token </s>", "--max-tokens 512 --eos-token </s>"),
        ("--api-key-env OPENAI_API_KEY", "--api-key-env OPENAI_API_KEY"),
        ("OPENAI_API_KEY=S4 --field question=q", "OPENAI_API_KEY=*** --field question=q"),
        ("--out /home/me/a?b", "--out /home/me/a?b"),
        ("--url http://u:S5@h/v1?k=S6", "--url http://h/v1"),
        (f"--prompt x{key} {key}", f"--prompt x{key} ***"),
        ("--password --verbose", "--password --verbose"),
    ]
    for typed, clean in shown:
        assert scrub_command(typed.split()) == clean.split()
    assert scrub_command([]) == []
    assert scrub_command(["", "a b", "--token", "S S"]) == ["", "a b", "--token", "***"]


def test_code_version_is_of_our_own_checkout_or_of_none(tmp_path: Path) -> None:
    version = code_version()
    assert version["version"] == upwell.__version__
    assert version["commit"] is None or len(version["commit"]) == 40
    assert (version["commit"] is None) == (version["dirty"] is None)

    # A copy installed inside somebody else's checkout must not take that checkout's commit for its own.
    site = tmp_path / "site"
    shutil.copytree(Path(upwell.__file__).parent, site / "upwell")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from upwell.runs import code_version; print(code_version())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(site)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str({"version": upwell.__version__, "commit": None, "dirty": None})


def test_code_version_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    code_version.cache_clear()
    try:
        assert code_version() == {"version": upwell.__version__, "commit": None, "dirty": None}
    finally:
        code_version.cache_clear()


def test_package_versions_import_nothing() -> None:
    script = (
        "import sys; from upwell.runs import package_versions; found = package_versions()\n"
        "assert 'msgspec' in found and 'numpy' in found, found\n"
        "print(sorted({'numpy', 'scipy', 'sympy', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_machine_names_no_host() -> None:
    found = machine()
    assert found["cpus"] >= 1
    assert found["memory_gib"] > 0
    assert "node" not in found and "host" not in found


def test_package_versions_are_of_this_environment() -> None:
    import msgspec

    assert package_versions()["msgspec"] == msgspec.__version__


def test_digest_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x" * 3_000_000)
    assert digest_file(file) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(UsageError, match="cannot read"):
        digest_file(tmp_path / "missing")


def test_a_served_model_keeps_its_name_and_loses_its_secrets() -> None:
    served = "server:http://me:password@h:1/v1?k=abc,https://b/v1#Qwen/Q-7B"
    assert scrub_url(served) == "server:http://h:1/v1,https://b/v1#Qwen/Q-7B"
    assert scrub_command(["upwell", "--model", served, f"--judge={served}"])[2:] == [
        scrub_url(served),
        f"--judge={scrub_url(served)}",
    ]
    assert scrub_url("http://h/v1#access_token=abc") == "http://h/v1"
    assert scrub_url("server:http://h/v1#access_token=abc") == "server:http://h/v1"
