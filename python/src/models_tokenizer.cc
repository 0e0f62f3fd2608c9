#include "models_tokenizer.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "longspan/model.h"
#include "models.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {

nb::tuple EncodingObject(const text::Encoding& row) {
  nb::list offsets, special, sequence;
  for (const text::Span& span : row.chars) offsets.append(SpanObject(span));
  for (const std::uint8_t is : row.special) special.append(static_cast<int>(is));
  for (const std::int8_t of : row.sequence) sequence.append(static_cast<int>(of));
  return nb::make_tuple(IdList(row.ids), IdList(row.type_ids), offsets, special, sequence,
                        nb::make_tuple(row.dropped[0], row.dropped[1]),
                        nb::make_tuple(row.first_token[0], row.first_token[1]));
}

namespace {

text::EncodeOptions ReadEncode(Options options) {
  text::EncodeOptions encode;
  options.Read("add_special_tokens", encode.special_tokens);
  options.Read("max_length", encode.max_length);
  options.Read("stride", encode.stride);
  options.Read("continues", encode.continues);
  options.ReadName("overflow", encode.overflow,
                   [](const std::string& name) { return text::ParseOverflow(name); });
  return encode;
}

// The rows of each text.
nb::list EncodeTexts(const TokenizerHandle& self, const nb::list& texts, nb::dict options) {
  const std::vector<TaskText> read = TaskTextsOf(texts, "texts");
  const text::EncodeOptions encode = ReadEncode(Options("tokenizer", std::move(options)));
  std::vector<std::vector<text::Encoding>> rows;
  {
    const nb::gil_scoped_release release;
    for (const TaskText& text : read) {
      rows.push_back(text.pair ? self.tokenizer->EncodePair(text.text, *text.pair, encode)
                               : self.tokenizer->Encode(text.text, encode));
    }
  }
  nb::list made;
  for (const std::vector<text::Encoding>& of_text : rows) {
    nb::list list;
    for (const text::Encoding& row : of_text) list.append(EncodingObject(row));
    made.append(list);
  }
  return made;
}

nb::dict SpecialTokens(const TokenizerHandle& self) {
  const text::SpecialIds& ids = self.tokenizer->special();
  nb::dict made;
  for (const auto& [name, id] : {std::pair{"bos", ids.bos},
                                 {"eos", ids.eos},
                                 {"unk", ids.unk},
                                 {"sep", ids.sep},
                                 {"pad", ids.pad},
                                 {"cls", ids.cls},
                                 {"mask", ids.mask}}) {
    made[name] = id ? nb::object(nb::int_(*id)) : nb::none();
  }
  return made;
}

}  // namespace

void BindTokenizer(nb::module_& module) {
  nb::class_<TokenizerHandle>(module, "Tokenizer")
      .def_static(
          "open",
          [](nb::handle path) {
            const std::filesystem::path folder = PathOf(path, "path");
            const nb::gil_scoped_release release;
            return TokenizerHandle{OpenModelTokenizer(folder)};
          },
          nb::arg("path"))
      .def("encode", &EncodeTexts, nb::arg("texts"), nb::arg("options"))
      .def(
          "decode",
          [](const TokenizerHandle& self, nb::handle ids, bool skip_special) {
            return TextObject(self.tokenizer->Decode(IdsOf(ids, "ids"), skip_special));
          },
          nb::arg("ids"), nb::arg("skip_special"))
      .def(
          "token_of",
          [](const TokenizerHandle& self, std::int32_t id) {
            return TextObject(self.tokenizer->TokenOf(id));
          },
          nb::arg("id"))
      .def(
          "id_of",
          [](const TokenizerHandle& self, nb::handle token) {
            return self.tokenizer->IdOf(TextOf(token, "token"));
          },
          nb::arg("token"))
      .def("special", &SpecialTokens)
      .def_prop_ro("kind",
                   [](const TokenizerHandle& self) { return std::string(self.tokenizer->kind()); })
      .def_prop_ro("vocabulary",
                   [](const TokenizerHandle& self) { return self.tokenizer->vocabulary(); })
      .def_prop_ro("longest",
                   [](const TokenizerHandle& self) { return self.tokenizer->longest(); });
}

}  // namespace longspan::python
