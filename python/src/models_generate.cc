// longspan._models.generate and search_beams: texts that a language model goes on with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/generate.h"
#include "models.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

GenerateOptions ReadGenerate(Options& options) {
  GenerateOptions generate;
  options.Read("tokens", generate.tokens);
  options.Read("temperature", generate.sampling.temperature);
  options.Read("top_k", generate.sampling.top_k);
  options.Read("top_p", generate.sampling.top_p);
  options.Read("seed", generate.sampling.seed);
  options.Read("repetition_penalty", generate.sampling.repetition_penalty);
  options.Read("context", generate.context);
  options.Read("stop", generate.stops);
  options.Read("cache", generate.cache);
  options.Read("batch", generate.batch);
  return generate;
}

// [(text, ids, prompt_tokens, ending, score)].
nb::list GeneratedObjects(const std::vector<GeneratedText>& texts) {
  nb::list made;
  for (const GeneratedText& text : texts) {
    made.append(nb::make_tuple(TextObject(text.text), IdList(text.tokens), text.prompt_tokens,
                               std::string(EndingName(text.ending)), text.score));
  }
  return made;
}

// `on_text(prompt, piece)` is None or ends a text by False. The piece is bytes: of a model of bytes
// it may be a part of a character.
nb::list GenerateTexts(const Model& model, const nb::list& list, nb::dict given, nb::object on_text,
                       nb::dict call) {
  const std::vector<std::string> prompts = TextsOf(list, "prompts");
  Options options("generate", std::move(given));
  const GenerateOptions generate = ReadGenerate(options);
  std::vector<GeneratedText> texts;
  RunJob(
      ReadCall({"generate", std::move(call)}), Interrupts::kCancel,
      [&](Context& context, const Caller& caller) {
        OnText tell;
        if (!on_text.is_none()) {
          tell = [&](std::size_t prompt, std::string_view piece) {
            bool more = true;
            return caller.Ask([&] {
              more =
                  !on_text(prompt, nb::bytes(piece.data(), piece.size())).is(nb::handle(Py_False));
            }) && more;
          };
        }
        texts = Generate(context, model, prompts, generate, tell);
      });
  return GeneratedObjects(texts);
}

nb::list SearchTexts(const Model& model, nb::handle prompt, nb::dict given, nb::dict call) {
  const std::string text = TextOf(prompt, "prompt");
  Options options("generate", std::move(given));
  const GenerateOptions generate = ReadGenerate(options);
  BeamOptions beam;
  options.Read("beams", beam.beams);
  options.Read("length_penalty", beam.length_penalty);
  return GeneratedObjects(Compute(ReadCall({"generate", std::move(call)}), [&](Context& context) {
    return SearchBeams(context, model, text, generate, beam);
  }));
}

}  // namespace

void BindGenerate(nb::module_& module) {
  module.def("generate", &GenerateTexts, nb::arg("model"), nb::arg("prompts"), nb::arg("options"),
             nb::arg("on_text").none(), nb::arg("call"));
  module.def("search_beams", &SearchTexts, nb::arg("model"), nb::arg("prompt"), nb::arg("options"),
             nb::arg("call"));
}

}  // namespace longspan::python
