// longspan._models.Tokenizer: a tokenizer of a folder or of a model.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "longspan/tokenizer.h"

namespace longspan::python {

// What keeps the tokenizer may be a whole model.
struct TokenizerHandle {
  std::shared_ptr<const text::Tokenizer> tokenizer;
};

// (ids, type_ids, offsets, special, sequence, dropped, first_token) of a row. An offset is a pair
// of characters of its text.
nanobind::tuple EncodingObject(const text::Encoding& row);

}  // namespace longspan::python
