import subprocess
import sys

HEAVY = ("torch", "diffusers", "transformers", "timm", "open_clip", "torchvision")
LIGHT = (
    "stages.generate",
    "stages.classify",
    "stages.clip_score",
    "stages.embed",
    "stages.features",
    "stages.appearance",
    "stages.degradations",
    "stages.sampling",
    "stages.models.source",
    "stages.models.spec",
)


def test_specs_and_fingerprints_need_no_heavy_library():
    code = f"import sys, {', '.join(LIGHT)}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
