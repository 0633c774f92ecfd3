"""`plugins check`: load a plugin in its child and say what holds there. Runs nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import NodeError
from node.inference.runner import Loaded, Runner
from node.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class PluginCheck:
    """What is known about one plugin after loading it."""

    name_version: str
    ok: bool
    #: ``cpu`` or ``cuda:N``.
    device: str
    #: None where it could not be loaded.
    loaded: Loaded | None
    #: One sentence a line, for a person.
    text: str


def check_plugin(manifest: Manifest, *, device: str = "cpu") -> PluginCheck:
    """Verify the files of a plugin, load it on `device`, and say how well it is held."""
    runner = Runner(device)
    try:
        loaded = runner.load(manifest)
    except NodeError as error:
        text = f"{manifest.name_version}: NOT OK on {device}: {error}"
        return PluginCheck(
            name_version=manifest.name_version, ok=False, device=device, loaded=None, text=text
        )
    finally:
        runner.close()
    return PluginCheck(
        name_version=manifest.name_version,
        ok=True,
        device=device,
        loaded=loaded,
        text="\n".join(_sentences(manifest, device, loaded)),
    )


def _sentences(manifest: Manifest, device: str, loaded: Loaded) -> list[str]:
    limit = manifest.limits.memory_mb
    interpreter = f" by {manifest.python}" if manifest.python else ""
    return [
        f"{manifest.name_version}: ok; loaded on {device}{interpreter} in {loaded.seconds:.1f} s "
        f"with {loaded.peak_memory_mb:.0f} MB; digest {manifest.digest[:12]}, "
        f"{len(manifest.weights)} weights files, grade {manifest.grade}",
        "  network: none, by the kernel"
        if loaded.no_network
        else "  network: NOT CUT OFF; this kernel allows no namespaces here",
        f"  memory: limit {limit} MB, watched by the node"
        + (" and held by the kernel" if loaded.memory_held else ""),
    ]
