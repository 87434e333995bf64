"""``deps`` as code in the kernel uses it."""

from __future__ import annotations

from .sessions import open_session
from .venvs import make_wheel, use_only


async def test_packages_are_added_listed_synced_and_removed_by_the_code(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    async with open_session(base, cache_venv=False) as session:
        use_only(tmp_path / "wheels", monkeypatch)
        make_wheel(tmp_path / "wheels", "pcm_code", "2.1")
        make_wheel(tmp_path / "wheels", "pcm_later")

        async def value(code: str) -> object:
            return (await session.run(code)).raise_for_error().value

        assert await value("deps.add('pcm_code>=2')") == {
            "installed": ["pcm_code>=2"],
            "already_present": [],
            "failed": [],
        }
        assert await value("import pcm_code; pcm_code.VERSION") == "2.1"
        assert await value("deps.list()") == ["pcm_code>=2"]
        assert "pcm_code>=2" in str(await value("repr(deps) + deps._repr_html_()"))
        (base / "requirements.txt").write_text("pcm_code>=2\npcm_later\n")
        assert await value("deps.sync()") == {
            "installed": ["pcm_later"],
            "already_present": ["pcm_code>=2"],
            "failed": [],
        }
        assert await value("import pcm_later; await deps.list()") == ["pcm_code>=2", "pcm_later"]
        assert await value("deps.remove('pcm_code')") == {
            "removed": ["pcm_code"],
            "not_found": [],
            "failed": [],
            "removed_from_config": True,
        }
        assert (await value("deps.add('pcm_missing')"))["failed"] == ["pcm_missing"]  # type: ignore[index]
        assert (base / "requirements.txt").read_text() == "pcm_later\n"
