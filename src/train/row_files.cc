#include "train/row_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "data/inputs.h"
#include "io/json.h"
#include "longspan/counted.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr const char* kIdField = "id";  // what names a row for people, where there is one

}  // namespace

std::string ReadRowFiles(const std::vector<std::filesystem::path>& files,
                         const data::RowRules& rules, const char* what, const char* task,
                         const std::function<void(const data::Row& row, bool table)>& add,
                         std::vector<std::string>* notes) {
  Check(!files.empty(), ErrorCode::kUsage, "train: no file of {}", what);
  const std::string source = io::Escape(files.front().string(), 400);
  const auto tell = [&](std::string note) {
    if (notes != nullptr) notes->push_back(std::move(note));
  };
  idx_t used = 0, bad = 0;
  data::InputFiles inputs({files.begin(), files.end()}, rules.options, {}, rules.labels);
  while (const std::optional<data::InputFile> file = inputs.NextFile()) {
    data::RowReader reader(std::filesystem::path(file->path), rules, file->label);
    Check(rules.columns || data::HasRows(reader.format()) || reader.HasLabels(), ErrorCode::kUsage,
          "{}: {} come as .csv, .tsv, .jsonl or .json{}; --format says what another file is",
          io::EscapeName(file->path), what,
          rules.labels ? ", in lines that begin with __label__NAME, or in folders that are named "
                         "as their labels"
                       : "");
    const bool table = data::IsTable(reader.format());
    reader.ForEach(
        [&](data::Row& row) {
          add(row, table);
          ++used;
        },
        [&](const data::Row& row, const Error& why) {
          const auto& on_bad = rules.options.on_bad;
          if (!rules.options.skip_bad || (row.ends_file && !on_bad)) {
            throw Error(why.code(), fmt::format("{}; `longspan data stats --task {}` names all "
                                                "rows that cannot be used",
                                                why.what(), task));
          }
          if (on_bad) on_bad(why);
          ++bad;
        });
  }
  for (std::string& note : inputs.TakeNotes()) tell(std::move(note));
  if (bad > 0 && !rules.options.on_bad) {
    tell(fmt::format("{}: {} cannot be used and {} left out", source, Counted(bad, "row"),
                     bad == 1 ? "is" : "are"));
  }
  Check(used > 0, ErrorCode::kFormat, "{}: holds no text", source);
  return source;
}

void RowDigest::Add(std::string_view part) {
  const std::uint64_t size = part.size();
  checksum_.Update(&size, sizeof(size));
  checksum_.Update(part.data(), part.size());
  read_ += part.size();
}

std::string RowDigest::Fingerprint() const { return fmt::format("{}-{}", read_, checksum_.Hex()); }

std::string IdOf(const data::Row& row) {
  const auto id = row.fields.find(kIdField);
  return id == row.fields.end() || id->is_null() ? std::string() : io::JsonText(*id);
}

void WantId(data::RowRules* rules) {
  const bool taken = std::any_of(rules->fields.begin(), rules->fields.end(),
                                 [](const WantedField& f) { return f.name == kIdField; });
  if (!taken) rules->fields.push_back({kIdField, false, true});
}

}  // namespace longspan
