#include "cli/output_form.h"

#include <algorithm>
#include <utility>

#include "cli/check.h"
#include "cli/visual/text.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

struct FormName {
  OutputForm form;
  std::string_view name, ending;
};
constexpr FormName kFormNames[] = {
    {OutputForm::kJsonLines, "jsonl", ".jsonl"}, {OutputForm::kJson, "json", ".json"},
    {OutputForm::kNpy, "npy", ".npy"},           {OutputForm::kCsv, "csv", ".csv"},
    {OutputForm::kTsv, "tsv", ".tsv"},           {OutputForm::kText, "text", ".txt"},
    {OutputForm::kJsonLines, "jsonl", ".ndjson"}};

// "jsonl, json, text", or their endings.
std::string Listed(std::span<const OutputForm> forms, std::string_view FormName::*what) {
  std::string list;
  for (const OutputForm form : forms) {
    const auto* const known = std::find_if(std::begin(kFormNames), std::end(kFormNames),
                                           [&](const FormName& f) { return f.form == form; });
    list.append(list.empty() ? "" : ", ").append(known->*what);
  }
  return list;
}

bool Can(const OutputForms& forms, OutputForm form) {
  return std::find(forms.can.begin(), forms.can.end(), form) != forms.can.end();
}

OutputForm FormNamed(const OutputForms& forms, std::string_view name) {
  for (const FormName& form : kFormNames) {
    if (form.name == name && Can(forms, form.form)) return form.form;
  }
  Fail(ErrorCode::kUsage, "output-format: '{}' is none of {}", io::Escape(name),
       Listed(forms.can, &FormName::name));
}

}  // namespace

std::optional<OutputForm> OutputFormOfEnding(const std::filesystem::path& file) {
  const std::string ending = LowerAscii(file.extension().string());
  for (const FormName& form : kFormNames) {
    if (form.ending == ending) return form.form;
  }
  return std::nullopt;
}

bool IsTableForm(OutputForm form) { return form == OutputForm::kCsv || form == OutputForm::kTsv; }

OutputForm ChooseOutputForm(const OutputForms& forms, const OutputRequest& request) {
  if (request.named) {
    const OutputForm form = FormNamed(forms, *request.named);
    Check(!request.json || form == OutputForm::kJson, ErrorCode::kUsage,
          "{}: --json is one document; --output-format {} is another form", forms.command,
          *request.named);
    return form;
  }
  if (request.json) return OutputForm::kJson;
  if (!request.file) return forms.on_stdout;
  const std::optional<OutputForm> form = OutputFormOfEnding(*request.file);
  if (form && Can(forms, *form)) return *form;
  const std::string ending = LowerAscii(std::filesystem::path(*request.file).extension().string());
  const bool plain = ending.empty() || ending == ".log";
  Check(plain && forms.otherwise.has_value(), ErrorCode::kUsage,
        "output: '{}': its ending says no form that {} writes ({}); use one of them or add "
        "--output-format",
        io::Escape(*request.file), forms.command, Listed(forms.can, &FormName::ending));
  return *forms.otherwise;
}

}  // namespace longspan::cli
