"""The modules of a page in Node.js, where it is installed."""

import json
import shutil
import subprocess

import pytest

from keras_s4.tflite.application.web.page import TEMPLATES

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js: apt-get install nodejs")


def run_in_node(folder, script, data=None):
    """What a script returns that may import modules of a page, and reads `data`."""
    for module in TEMPLATES.glob("*.js"):
        shutil.copy(module, folder / module.name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "data.json").write_text(json.dumps(data))
    imports, _, body = script.rpartition("// run\n")
    (folder / "run.js").write_text(
        f'import {{ readFileSync }} from "node:fs";\n{imports}\n'
        'const data = JSON.parse(readFileSync("data.json", "utf8"));\n'
        f"const found = await (async () => {{ {body} }})();\nprocess.stdout.write(JSON.stringify(found));\n"
    )
    done = subprocess.run(["node", "run.js"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
