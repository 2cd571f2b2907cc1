"""REST and its description follow the contracts."""

import json

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from malha.edge import contracts
from malha.edge.openapi import document
from malha.runtime.settings import RuntimeSettings


def test_the_committed_descriptors_are_those_of_the_generated_code() -> None:
    """`make generate` makes both. Compared without source information, which generated code has not."""
    files = descriptor_pb2.FileDescriptorSet.FromString((contracts.resources.files("malha.edge") / contracts.DESCRIPTORS).read_bytes())
    committed = {file.name: file for file in files.file}
    for service in contracts.SERVICES.values():
        generated = FileDescriptorProto()
        service.file.CopyToProto(generated)
        file = committed[generated.name]
        assert file.source_code_info.location, generated.name
        file.ClearField("source_code_info")
        file.ClearField("options")
        generated.ClearField("options")
        assert file == generated, f"{generated.name} is older than its .proto file: make generate"


def test_every_capability_has_a_service_and_a_target_or_the_local_one() -> None:
    assert len(contracts.SERVICES) == 10
    targets = {name.removesuffix("_target") for name in RuntimeSettings.model_fields if name.endswith("_target")}
    assert targets <= contracts.SERVICES.keys()


def test_every_unary_method_has_an_address_of_its_own() -> None:
    bound = {binding.method.full_name for binding in contracts.bindings()}
    unary = {method.full_name for service in contracts.SERVICES.values() for method in service.methods if not method.client_streaming}
    assert bound == unary
    addresses = [(binding.verb, binding.path) for binding in contracts.bindings()]
    assert len(addresses) == len(set(addresses))
    assert all(binding.path.startswith("/api/v1/") for binding in contracts.bindings() if not binding.alias)
    assert {binding.path for binding in contracts.bindings() if binding.alias} == {"/api/feedback"}


def test_everything_in_the_contracts_has_a_comment() -> None:
    told = contracts.comments()
    for service in contracts.SERVICES.values():
        assert told[service.full_name]
        for method in service.methods:
            assert told[method.full_name]
            for field in method.input_type.fields:
                assert told[field.full_name]


def test_the_description_describes_all_of_it() -> None:
    told = document()
    for binding in contracts.bindings():
        operation = told["paths"][binding.path][binding.verb.lower()]
        assert operation["summary"] == contracts.comments()[binding.method.full_name]
        named = {parameter["name"] for parameter in operation["parameters"]}
        assert set(binding.variables) <= named
        if binding.body != "*":
            assert named == {field.name for field in binding.method.input_type.fields} - {binding.body}
    assert {"/api/v1/asr", "/api/v1/tts", "/api/v1/health"} <= told["paths"].keys()
    operations = [operation["operationId"] for path in told["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))


def test_every_kind_of_speech_is_described() -> None:
    content = document()["paths"]["/api/v1/tts"]["post"]["responses"]["200"]["content"]
    assert content.keys() == {"audio/wav", "audio/pcm", "audio/ogg", "audio/mpeg", "audio/PCMU", "audio/PCMA"}


def test_every_reference_in_the_description_leads_somewhere() -> None:
    told = document()
    schemas = told["components"]["schemas"]
    references = {part.split('"')[0] for part in json.dumps(told).split('"$ref": "')[1:]}
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas
    encoding = schemas["malha.api.common.v1.Encoding"]
    assert "ENCODING_OGG" in encoding["enum"]
    assert "RFC 7845" in encoding["description"]
    align = schemas["malha.api.transcribe.v1.AlignRequest"]["properties"]
    assert align["content"]["format"] == "byte"
    assert align["content"]["description"] == "Whole samples: at most 4,000,000 bytes, two minutes at 16,000 Hz."
