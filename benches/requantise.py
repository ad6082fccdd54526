#!/usr/bin/env python3
"""Writes a GGUF model anew with all matrices in one format: `requantise.py IN.gguf OUT.gguf Q8_0|F16`.

Needs the `gguf` package. What the source has lost by its own quantisation stays lost: the files are for measuring
time and memory, and for comparing programs on the same numbers.
"""

import sys

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize


def main(source, target, name):
    kind = GGMLQuantizationType[name]
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        # Vectors stay as they are: nobody stores gains of norms in fewer bits.
        if len(tensor.shape) < 2:
            writer.add_tensor(tensor.name, values)
        else:
            data = quantize(values, kind)
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
