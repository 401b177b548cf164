"""flowlid.kaldi.options: Kaldi's configuration files."""

from pathlib import Path

import pytest

from flowlid.features.fbank import FbankOptions
from flowlid.features.vad import VadOptions
from flowlid.kaldi.options import read_options


def test_read_options(tmp_path: Path) -> None:
    path = tmp_path / "fbank.conf"
    path.write_text("# comment\n--sample-frequency=8000 # Hz\n\n--window_type='hamming' --snip-edges=false\n")
    assert read_options(path, FbankOptions) == FbankOptions(
        sample_frequency=8000.0, window_type="hamming", snip_edges=False
    )
    path.write_text("")
    assert read_options(path, VadOptions) == VadOptions(5.0, 0.5, 0, 0.6)


def test_options_of_kaldi_at_what_is_done_here(tmp_path: Path) -> None:
    """A conf/fbank.conf as Kaldi's recipes have them."""
    path = tmp_path / "fbank.conf"
    path.write_text(
        "--use-energy=false\n--htk-compat=true # of the energy's place\n--use-log-fbank=true\n--use-power\n"
        "--energy-floor=1.0\n--debug-mel=false\n--vtln-low=100\n--vtln-high=-500\n--max-feature-vectors=1000\n"
        "--output-format=kaldi\n--verbose=2\n--min-duration=0\n--subtract-mean=false\n--blackman-coeff=0.42\n"
        "--raw-energy=false\n--remove-dc-offset=true\n--round-to-power-of-two\n--allow-downsample\n--snip-edges=F\n"
    )
    assert read_options(path, FbankOptions) == FbankOptions(raw_energy=False, allow_downsample=True, snip_edges=False)
    path.write_text("--omit-unvoiced-utts=true\n--verbose=1\n--vad-frames-context=2")
    assert read_options(path, VadOptions) == VadOptions(vad_frames_context=2)


@pytest.mark.parametrize(("text", "channel"), [("", None), ("-1", None), ("0", 0), ("1", 1), ("mix", "mix")])
def test_channels(tmp_path: Path, text: str, channel: int | str | None) -> None:
    path = tmp_path / "fbank.conf"
    path.write_text(f"--channel={text}\n" if text else "")
    assert read_options(path, FbankOptions).chosen_channel == channel


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--use-energy", r"x.conf:2: '--use-energy' is not supported: energy is no dimension .*; remove the line"),
        ("--use-energy=true", r"x.conf:2: '--use-energy=true' is not supported: energy is no dimension"),
        ("--use-power=false", r"x.conf:2: '--use-power=false' is not supported: .*power spectrum"),
        ("--use-log-fbank=false", r"x.conf:2: '--use-log-fbank=false' is not supported: .*log-mel"),
        ("--subtract-mean=true", r"x.conf:2: '--subtract-mean=true' is not supported: .*frames.cmvn"),
        ("--vtln-warp=1.1", r"x.conf:2: '--vtln-warp=1.1' is not supported: there is no VTLN"),
        ("--min-duration=0.5", r"x.conf:2: '--min-duration=0.5' is not supported"),
        ("--output-format=htk", r"x.conf:2: '--output-format=htk' is not supported: archives are Kaldi's"),
        ("--energy-floor=low", r"x.conf:2: --energy-floor must be a number, not 'low'"),
        ("--channel=left", r"x.conf: --channel: channel 'left'; write a number from 0, or \"mix\""),
        ("--num-mel-bin=40", r"x.conf:2: unknown option '--num-mel-bin' .did you mean '--num-mel-bins'"),
        ("--num-mel-bins=forty", r"x.conf:2: --num-mel-bins must be a number, not 'forty'"),
        ("--num-mel-bins=40.5", r"x.conf:2: --num-mel-bins must be a number, not '40.5'"),
        ("--snip-edges=yes", r"x.conf:2: --snip-edges must be true or false, not 'yes'"),
        ("num-mel-bins=40", r"x.conf:2: 'num-mel-bins=40' is not an option; write --name=value"),
        ("--num-mel-bins 40", r"x.conf:2: '--num-mel-bins' is not an option; write --name=value"),
        ("--window-type='povey", r"x.conf:2: .*No closing quotation"),
        ("--window-type=hann", r"x.conf: --window-type must be one of povey, .*not 'hann'"),
        ("--num-mel-bins=2", r"x.conf: --num-mel-bins must be 3 to 1000, not 2"),
        ("--num-mel-bins=999999999", r"x.conf: --num-mel-bins must be 3 to 1000"),
        ("--high-freq=9000", r"x.conf: --low-freq=20.0 and --high-freq=9000.0 are not a band within 0 to 8000.0 Hz"),
        ("--low-freq=nan", r"x.conf: --low-freq must be 0 to 500000, not nan"),
        ("--sample-frequency=-1", r"x.conf: --sample-frequency must be 1 to 1000000, not -1.0"),
        ("--sample-frequency=inf", r"x.conf: --sample-frequency must be 1 to 1000000, not inf"),
        ("--high-freq=1e30", r"x.conf: --high-freq must be -500000 to 500000, not 1e.30"),
        ("--frame-length=1e9", r"x.conf: --frame-length must be 0 to 10000"),
        ("--frame-length=9000", r"x.conf: --frame-length=9000.0 ms is 144000 samples; give 32768 or less"),
        ("--frame-shift=nan", r"x.conf: --frame-shift must be 0 to 10000, not nan"),
        ("--preemphasis-coefficient=inf", r"x.conf: --preemphasis-coefficient must be 0 to 1, not inf"),
        ("--dither=-1", r"x.conf: --dither must be 0 to 32768, not -1.0"),
        (f"--window-type={'x' * 5000}", r"x.conf: --window-type must be one of povey, .*not 'x{99}\.\.\.$"),
        (f"--channel={'9' * 5000}", r"x.conf: --channel: channel '9{99}\.\.\.; write a number"),
        (f"--{'x' * 5000}=1", r"x.conf:2: unknown option '--x{97}\.\.\.; known"),
        ("--frame-shift=0", r"x.conf: --frame-length and --frame-shift must be one sample or more"),
    ],
)
def test_read_options_refuses(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.conf"
    path.write_text(f"# first line\n{text}\n")
    with pytest.raises(ValueError, match=message):
        read_options(path, FbankOptions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threshold=nan", "--vad-energy-threshold must be -1000 to 1000, not nan"),
        ("mean-scale=1e30", "--vad-energy-mean-scale must be -1000 to 1000, not 1e"),
        ("context=-1", "--vad-frames-context must be 0 to 100000, not -1"),
        ("proportion=1.5", "--vad-proportion-threshold must be 0 to 1, not 1.5"),
    ],
)
def test_a_vad_that_decides_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path, (name, value) = tmp_path / "vad.conf", text.split("=")
    full = {"threshold": "energy-threshold", "mean-scale": "energy-mean-scale", "context": "frames-context"}
    path.write_text(f"--vad-{full.get(name, 'proportion-threshold')}={value}\n")
    with pytest.raises(ValueError, match=rf"vad\.conf: {message}"):
        read_options(path, VadOptions)


def test_read_options_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.conf"):
        read_options(tmp_path / "none.conf", VadOptions)
