"""TensorZero's gateway as a process of its own: prints its address, and runs until its standard input ends.

Its Python package brings the gateway inside a library; this serves HTTP from there. Nothing else happens in this process, so
that its processor time and memory are the gateway's, but for the interpreter's memory.
"""

import sys

import openai
import tensorzero

client = tensorzero.patch_openai_client(openai.OpenAI(api_key="none"), config_file=sys.argv[1], async_setup=False)
print("address", client.base_url, flush=True)
sys.stdin.read()
