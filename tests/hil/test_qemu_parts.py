"""The pure parts of the engine qemu: archive, modules, kernel image, accelerator, command line."""

import lzma
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_hil.engines import EngineError, Job, initramfs, modules, stockkernel
from gateway_hil.engines.accelerator import KVM, TCG, choose
from gateway_hil.engines.cpio import Archive
from gateway_hil.engines.debian import KernelPackages, NoPackage, fetch, newest_kernel
from gateway_hil.engines.modules import Module, NoSuchModule, Tree, depends
from gateway_hil.engines.qemu import Qemu, arguments
from gateway_hil.engines.stockkernel import BuildFailed, StockKernel, build_modules, prepare, uncompressed

# --- cpio ------------------------------------------------------------------------------------------


def entries(packed: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive back, straight from the format's description: name -> (mode, content)."""
    found, at = {}, 0
    while True:
        assert packed[at : at + 6] == b"070701"
        fields = [int(packed[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = packed[at + 110 : at + 110 + name_size - 1].decode()
        content_at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        assert name not in found
        found[name] = (mode, packed[content_at : content_at + size])
        at = (content_at + size + 3) & ~3


@given(st.dictionaries(st.text("abc/é", min_size=1).map(lambda t: "d" + t.strip("/")), st.binary()))
def test_an_archive_holds_what_was_put_in(files):
    files = {name: content for name, content in files.items() if "//" not in name}
    files = {n: c for n, c in files.items() if not any(other.startswith(n + "/") for other in files)}
    archive = Archive()
    for name, content in files.items():
        archive.file(name, content)
    found = entries(archive.packed())
    assert {name: content for name, (mode, content) in found.items() if mode >> 12 == 0o10} == files


def test_folders_come_before_what_is_in_them_and_once():
    archive = Archive()
    archive.file("a/b/c", b"x", mode=0o755)
    archive.folder("a/b")
    archive.character_device("dev/console", 5, 1)
    found = entries(archive.packed())
    assert list(found) == ["a", "a/b", "a/b/c", "dev", "dev/console"]
    assert found["a/b/c"][0] == 0o100755
    assert found["dev/console"][0] == 0o020600


def test_an_archive_can_grow_after_it_was_packed():
    archive = Archive()
    archive.file("one", b"1")
    assert list(entries(archive.packed())) == ["one"]
    archive.file("two", b"2")
    assert list(entries(archive.packed())) == ["one", "two"]


# --- modules ---------------------------------------------------------------------------------------


def module_file(path: Path, *needs: str) -> None:
    """A file with the one part of a module that is read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    module_file(root / "kernel/9p.ko", "9pnet", "netfs")
    module_file(root / "kernel/9pnet.ko")
    module_file(root / "kernel/netfs.ko")
    module_file(root / "kernel/snd-aloop.ko", "snd_pcm", "snd-timer")
    module_file(root / "kernel/snd-pcm.ko", "snd-timer")
    module_file(root / "kernel/snd-timer.ko")
    module_file(root / "kernel/vivid.ko", "lost")
    module_file(root / "kernel/dummy_hcd.ko")
    (root / "modules.builtin").write_text("kernel/crypto/aes_generic.ko\n")
    return root


def test_each_module_comes_after_what_it_needs_and_once(tree):
    order = [module.name for module in Tree(tree).in_order(["9p", "snd-aloop", "snd_pcm"])]
    assert order == ["9pnet", "netfs", "9p", "snd_timer", "snd_pcm", "snd_aloop"]


def test_what_is_built_in_need_not_be_loaded(tree):
    assert Tree(tree).in_order(["aes-generic"]) == []


def test_a_missing_module_is_named_with_who_needs_it(tree):
    with pytest.raises(NoSuchModule, match="no module lost, which vivid needs"):
        Tree(tree).in_order(["vivid"])


def test_a_module_of_ours_replaces_the_stock_one_and_has_its_parameters(tree, tmp_path):
    module_file(tmp_path / "ours/dummy_hcd.ko")
    found = Tree(tree, tmp_path / "ours").in_order(["dummy_hcd"])
    assert found == [Module("dummy_hcd", tmp_path / "ours/dummy_hcd.ko", "num=6")]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"depends=a,b-c\0", ("a", "b-c")),
        (b"xx\0depends=\0", ()),
        (b"no such thing", ()),
        (b"\0softdepends=z\0depends=y\0", ("y",)),
    ],
)
def test_what_a_module_depends_on(content, names):
    assert depends(content) == names


def test_every_parameter_belongs_to_a_module_that_is_loaded():
    loaded = {modules.plain(name) for name in (*modules.ROOT, *modules.LADDER, *modules.BUILT)}
    assert set(modules.PARAMETERS) <= loaded


# --- the kernel's image and the modules of our own ---------------------------------------------------


def bzimage(payload: bytes, *, setup_sectors: int = 4) -> bytes:
    """An image with the header fields that tell where its payload is."""
    head = bytearray(512 * (setup_sectors + 1))
    head[0x1F1] = setup_sectors
    head[0x248:0x24C] = (96).to_bytes(4, "little")
    head[0x24C:0x250] = len(payload).to_bytes(4, "little")
    return bytes(head) + bytes(96) + payload + b"\xff" * 32


def test_a_kernel_packed_with_xz_is_unpacked_on_the_host():
    assert uncompressed(bzimage(lzma.compress(b"\x7fELF kernel"))) == b"\x7fELF kernel"


def test_a_kernel_packed_otherwise_unpacks_itself():
    image = bzimage(b"\x28\xb5\x2f\xfd zstd")
    assert uncompressed(image) == image


def test_a_source_that_an_edit_does_not_fit_is_not_built(tmp_path):
    for name in ("kernel/irq/irq_sim.c", "drivers/usb/gadget/udc/dummy_hcd.c"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("/* another kernel's */\n")
    with pytest.raises(BuildFailed, match="irq_sim"):
        build_modules(tmp_path, tmp_path)


# --- packages ----------------------------------------------------------------------------------------


def test_all_packages_of_a_kernel_have_its_version():
    kernel = KernelPackages("6.1.0-56-amd64", "6.1.192-2")
    assert kernel.exactly(kernel.image, *kernel.headers) == [
        "linux-image-6.1.0-56-amd64=6.1.192-2",
        "linux-headers-6.1.0-56-amd64=6.1.192-2",
        "linux-headers-6.1.0-56-common=6.1.192-2",
        "linux-kbuild-6.1=6.1.192-2",
    ]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of ours in place of the system's: `programs(apt_cache="shell script")`."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(**scripts: str) -> None:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    monkeypatch.setenv("PATH", str(folder))
    return put


def test_the_newest_kernel_that_can_be_had_is_taken(programs):
    programs(
        apt_cache="""
        if [ "$1" = pkgnames ]; then
            for n in 9 57 56 10; do echo linux-image-6.1.0-$n-amd64; echo linux-image-6.1.0-$n-amd64-dbg; done
            echo linux-image-6.1.0-99-rt-amd64
        elif [ "$2" = linux-image-6.1.0-57-amd64 ]; then echo "  Candidate: (none)"
        else echo "  Installed: (none)"; echo "  Candidate: 6.1.192-2"; fi"""
    )
    assert newest_kernel() == KernelPackages("6.1.0-56-amd64", "6.1.192-2")


def test_lists_without_a_kernel_say_what_to_do(programs):
    programs(apt_cache="exit 0")
    with pytest.raises(NoPackage, match="apt-get update"):
        newest_kernel()


def test_a_failed_download_says_what_apt_said(programs, tmp_path):
    programs(apt_get="echo 'E: Version not found' >&2; exit 100")
    with pytest.raises(NoPackage, match="E: Version not found"):
        fetch(["linux-image"], tmp_path)


def test_a_system_without_apt_is_told_so(programs):
    with pytest.raises(NoPackage, match="no apt-cache here"):
        newest_kernel()


def test_without_a_package_a_kernel_that_was_kept_has_to_do(programs, tmp_path):
    programs(apt_cache="exit 0", apt_get="exit 0")
    with pytest.raises(NoPackage, match="apt-get update"):
        prepare(tmp_path, str)
    kept = tmp_path / stockkernel._kept("6.1.1-1")
    kept.mkdir()
    (kept / "load.txt").write_text("6.1.0-1-amd64\n1\nvirtio\nvivid n_devs=1 node_types=0x1\n")
    said = []
    found = prepare(tmp_path, said.append)
    assert found.release == "6.1.0-1-amd64"
    assert found.for_root == (Module("virtio", kept / "virtio.ko"),)
    assert found.for_ladder == (Module("vivid", kept / "vivid.ko", "n_devs=1 node_types=0x1"),)
    assert "kept from an earlier run" in said[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may renew apt's lists")
def test_old_lists_are_renewed_before_anything_else_is_said_to_be_wrong(programs, tmp_path):
    lists = tmp_path / "lists"
    programs(
        apt_cache=f"""
        [ -e {lists} ] || exit 0
        case $1 in pkgnames) echo linux-image-6.1.0-56-amd64 ;; *) echo "  Candidate: 6.1.192-2" ;; esac""",
        apt_get=f"if [ $1 = update ]; then : >{lists}; else echo 'E: 404' >&2; exit 100; fi",
    )
    said = []
    with pytest.raises(NoPackage, match="no linux-image"):
        prepare(tmp_path, said.append)
    assert any("6.1.0-56" in line for line in said)
    assert "E: 404" in said[-1]


# --- the first root file system ----------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path):
    found = []
    for name, parameters in (("virtio", ""), ("vivid", "n_devs=1")):
        (tmp_path / f"{name}.ko").write_bytes(name.encode())
        found.append(Module(name, tmp_path / f"{name}.ko", parameters))
    return StockKernel("6.1.0-1-amd64", tmp_path / "vmlinux", (found[0],), (found[1],))


@pytest.fixture
def static(tmp_path, monkeypatch):
    """Something that passes for a static busybox."""
    path = tmp_path / "busybox"
    path.write_bytes(b"\x7fELF")
    monkeypatch.setattr(initramfs, "BUSYBOX", path)
    return path


def test_the_guest_gets_its_modules_in_order_and_the_way_to_its_init(kernel, static):
    found = entries(initramfs.for_ladder(kernel, Path("/somewhere/init.sh")))
    assert found["modules/root"][1] == b"virtio\n"
    assert found["modules/ladder"][1] == b"vivid n_devs=1\n"
    assert found["modules/vivid.ko"][1] == b"vivid"
    assert found["next"][1] == b"/somewhere/init.sh\n"
    assert found["init"][0] == 0o100755
    assert {"proc", "sys", "dev", "dev/console", "lower", "layer", "root"} <= set(found)


@pytest.mark.parametrize("content", [None, b"\x7fELF /lib64/ld-linux-x86-64.so.2"])
def test_a_busybox_that_needs_libraries_is_refused(static, content):
    static.unlink() if content is None else static.write_bytes(content)
    with pytest.raises(EngineError, match="busybox-static"):
        initramfs.for_trial("word")


def test_the_script_of_the_first_process_is_valid(static):
    script = entries(initramfs.for_trial("hello"))["init"][1]
    ladder = Path(initramfs.__file__).parents[1] / "guest/initramfs.sh"
    for text in (script, ladder.read_bytes()):
        subprocess.run(["sh", "-n"], input=text, check=True)


# --- the accelerator ---------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path):
    path = tmp_path / "kvm"
    path.touch()
    return path


def test_kvm_is_taken_if_a_guest_boots_and_tried_only_once(tmp_path, door):
    tried, said = [], []

    def boots(way):
        tried.append(way)
        return True

    for _ in range(2):
        assert choose(tmp_path, "QEMU 7.2", boots, said.append, door=door) == KVM
    assert tried == [KVM]


def test_a_door_that_is_there_proves_nothing(tmp_path, door):
    said = []
    for _ in range(2):
        assert choose(tmp_path, "QEMU 7.2", lambda way: False, said.append, door=door) == TCG
    assert sum("trying" in line for line in said) == 1
    assert "interpreted (tcg)" in said[-1]


def test_another_qemu_is_tried_anew(tmp_path, door):
    assert choose(tmp_path, "QEMU 7.2", lambda way: False, str, door=door) == TCG
    assert choose(tmp_path, "QEMU 9.0", lambda way: True, str, door=door) == KVM
    assert choose(tmp_path, "QEMU 7.2", lambda way: pytest.fail("tried again"), str, door=door) == TCG


def test_without_a_door_nothing_is_tried(tmp_path):
    said = []
    way = choose(tmp_path, "Q", lambda way: pytest.fail("tried"), said.append, door=tmp_path / "none")
    assert way == TCG
    assert "interpreted" in said[0]


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"x": "yes"}', "{"])
def test_a_damaged_memory_is_no_memory(tmp_path, door, content):
    (tmp_path / "accelerator.json").write_text(content)
    assert choose(tmp_path, "Q", lambda way: True, str, door=door) == KVM


# --- the command line --------------------------------------------------------------------------------


def test_the_host_is_shared_read_only_and_the_out_folder_alone_can_be_written(kernel, tmp_path):
    out = tmp_path / "a,b"
    command = arguments(kernel, Path("/initramfs"), TCG, 512, out)
    root, shared = [word for word in command if word.startswith("local,")]
    assert "path=/," in root
    assert root.endswith("readonly=on")
    assert f"path={tmp_path}/a,,b," in shared
    assert "readonly" not in shared
    assert command[command.index("-m") + 1] == "512"


def test_a_trial_shares_nothing(kernel):
    assert "-fsdev" not in arguments(kernel, Path("/initramfs"), KVM, 256)


def test_what_it_cannot_do_it_says(tmp_path):
    with pytest.raises(EngineError, match="prepare"):
        Qemu().run(Job(command=("true",), folder=tmp_path, out=tmp_path / "out"))
