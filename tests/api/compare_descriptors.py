"""Compares our descriptors with those inside the official Python SDK, field by field.

Usage: python compare_descriptors.py OUR_FILE_DESCRIPTOR_SET

Everything of the files below must be the same as in the package `yandexcloud`: file names,
packages, messages, fields (name, number, type, label, oneof, JSON name), reserved ranges, enums,
services, methods and all options, known and custom. Only the order of declarations may differ.
Prints one line per difference; exits 1 if there is any.
"""

import importlib
import sys

from google.protobuf import descriptor_pb2

# Loading these registers the custom options, so that both sides are parsed with them.
OPTION_MODULES = [
    "google.api.annotations_pb2",
    "yandex.cloud.validation_pb2",
    "yandex.cloud.api.operation_pb2",
]

WHOLE_FILES = [
    "yandex/cloud/validation.proto",
    "yandex/cloud/api/operation.proto",
    "yandex/cloud/operation/operation.proto",
    "yandex/cloud/operation/operation_service.proto",
    "google/api/http.proto",
    "google/api/annotations.proto",
    "google/rpc/status.proto",
    *(
        f"yandex/cloud/iot/devices/v1/{name}.proto"
        for name in (
            "device",
            "device_service",
            "device_data_service",
            "registry",
            "registry_service",
            "registry_data_service",
        )
    ),
    *(
        f"yandex/cloud/iot/broker/v1/{name}.proto"
        for name in ("broker", "broker_service", "broker_data_service")
    ),
]

# From these we take single messages; the rest of the file is not ours to serve.
PARTIAL_FILES = {"yandex/cloud/logging/v1/log_entry.proto": ["LogLevel"]}


def official(path):
    module = importlib.import_module(path.removesuffix(".proto").replace("/", ".") + "_pb2")
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def json_name(name):
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def options_text(message):
    """All set options, custom ones included, in the order of their numbers."""
    return [(field.full_name, str(value)) for field, value in message.options.ListFields()]


def field_facts(field, oneofs, prefix):
    oneof = oneofs[field.oneof_index].name if field.HasField("oneof_index") else None
    return {
        f"{prefix}.{field.name}": (
            field.number,
            field.type,
            field.label,
            field.type_name,
            field.extendee,
            oneof,
            field.proto3_optional,
            field.default_value,
            field.json_name or json_name(field.name),
            options_text(field),
        )
    }


def enum_facts(enum, prefix):
    name = f"{prefix}.{enum.name}"
    facts = {name: ("enum", options_text(enum), [str(r) for r in enum.reserved_range], list(enum.reserved_name))}
    for value in enum.value:
        facts[f"{name}.{value.name}"] = (value.number, options_text(value))
    return facts


def message_facts(message, prefix):
    name = f"{prefix}.{message.name}"
    reserved = sorted((reserved.start, reserved.end) for reserved in message.reserved_range)
    facts = {name: ("message", options_text(message), reserved, sorted(message.reserved_name))}
    for field in message.field:
        facts |= field_facts(field, message.oneof_decl, name)
    for oneof in message.oneof_decl:
        facts[f"{name}.{oneof.name}"] = ("oneof", options_text(oneof))
    for enum in message.enum_type:
        facts |= enum_facts(enum, name)
    for nested in message.nested_type:
        facts |= message_facts(nested, name)
    return facts


def service_facts(service, prefix):
    name = f"{prefix}.{service.name}"
    facts = {name: ("service", options_text(service))}
    for method in service.method:
        facts[f"{name}.{method.name}"] = (
            method.input_type,
            method.output_type,
            method.client_streaming,
            method.server_streaming,
            options_text(method),
        )
    return facts


def file_facts(file, only=None):
    facts = {"file": (file.name, file.package, file.syntax, options_text(file))}
    if only is None:
        facts["imports"] = (sorted(file.dependency), list(file.public_dependency))
    for message in file.message_type:
        if only is None or message.name in only:
            facts |= message_facts(message, file.package)
    if only is not None:
        return facts
    for enum in file.enum_type:
        facts |= enum_facts(enum, file.package)
    for service in file.service:
        facts |= service_facts(service, file.package)
    for extension in file.extension:
        facts |= field_facts(extension, [], f"{file.package}[extension]")
    return facts


def differences(path, ours, theirs):
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{path}: {name}: ours {ours.get(name)}, official {theirs.get(name)}"


def main():
    for module in OPTION_MODULES:
        importlib.import_module(module)
    our_set = descriptor_pb2.FileDescriptorSet()
    with open(sys.argv[1], "rb") as file:
        our_set.ParseFromString(file.read())
    ours = {file.name: file for file in our_set.file}

    found, compared = [], 0
    for path in [*WHOLE_FILES, *PARTIAL_FILES]:
        only = PARTIAL_FILES.get(path)
        theirs = file_facts(official(path), only)
        compared += len(theirs)
        if path not in ours:
            found.append(f"{path}: missing")
            continue
        found += differences(path, file_facts(ours[path], only), theirs)
    for line in found:
        print(line)
    print(f"{compared} declarations compared, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
