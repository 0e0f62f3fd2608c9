#include "families/convert.h"

#include <map>
#include <memory>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "families/what_is.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/policy.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "model/model_folder.h"
#include "model/weight_files.h"
#include "model/weight_heads.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string Source(const fs::path& path) { return io::Escape(path.native(), 4096); }

// Throws what `in` is and what to do where no weights can be in it.
void CheckHoldsModel(const fs::path& in) {
  const WhatIs found = LookAt(in);
  switch (found.kind) {
    case PathKind::kMissing:
    case PathKind::kEmpty:
    case PathKind::kUnfinished:
    case PathKind::kTokenizer:
    case PathKind::kTable:
    case PathKind::kText:
      throw NoModel(in, found);
    default:
      return;
  }
}

// The text with every `from` as `to`.
std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// ConvertedCheck, and `check` after it.
ConvertedCheck OpensAs(const FolderCheck& check) {
  return [check](const fs::path& folder, const fs::path& out, std::string left_out,
                 std::vector<std::string>* warnings) {
    const auto as_out = [&](const Error& error) {
      return Replaced(error.what(), Source(folder), Source(out));
    };
    idx_t channels = 0;
    try {
      if (LookAt(folder).kind == PathKind::kModel) {
        LoadOptions load;
        load.allow_nonfinite = true;
        channels = LoadTextModel(folder, load)->info().width;
      } else {
        io::OpenModel(folder);
      }
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      throw Error(error.code(), "what was converted cannot be opened: " + as_out(error));
    }
    try {
      if (check && channels > 0) check(folder, channels);
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      left_out += (left_out.empty() ? "" : "; ") + as_out(error);
    }
    if (!left_out.empty()) warnings->push_back(std::move(left_out));
    if (TokenizerFiles(folder).empty()) return;
    try {
      OpenModelTokenizer(folder);
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      warnings->push_back("the tokenizer was copied but cannot be opened: " + as_out(error));
    }
  };
}

// The tensors under their own names, without copies of tied ones.
std::map<std::string, std::string> OwnNames(const io::TensorSource& source) {
  const auto copies = TiedCopies(source);
  std::map<std::string, std::string> from;
  for (const auto& [name, info] : source.tensors()) {
    if (copies.count(name) == 0) from[name] = name;
  }
  return from;
}

// Writes into the config what its readers took from the weights or had to guess: the class, and the
// labels in the form that everybody reads. Returns the class.
std::string CompleteConfig(const ModelFolder& folder, json* config,
                           std::vector<std::string>* warnings) {
  const auto read = ReadModelConfig(folder);
  const TextModelInfo info = read->info();
  (*config)["model_type"] = folder.type;
  (*config)["architectures"] = {info.class_name};
  const std::vector<std::string> notes = read->notes();
  warnings->insert(warnings->end(), notes.begin(), notes.end());
  if (info.head == HeadKind::kSequence || info.head == HeadKind::kToken) {
    config->erase("num_labels");
    config->erase("_num_labels");
    WriteLabels(info.labels, ProblemType::kInferred, config);
  }
  return info.class_name;
}

}  // namespace

std::string ConvertTargets() {
  std::string types;
  for (const ModelFamily* family : Families()) {
    if (family->convert == nullptr) continue;
    types.append(types.empty() ? "" : ", ").append(family->type);
  }
  return types;
}

ConvertReport ConvertTo(std::string_view type, const fs::path& in, const fs::path& out,
                        const ConvertOptions& options, const FolderCheck& check) {
  const ModelFamily* family = FindFamily(type);
  Check(family != nullptr && family->convert != nullptr, ErrorCode::kUsage,
        "convert: nothing becomes a '{}'; use {}", io::Escape(type), ConvertTargets());
  io::Confine(in);
  CheckHoldsModel(in);
  return family->convert(in, out, options, OpensAs(check));
}

ConvertReport RewriteModel(const fs::path& in, const fs::path& out, const ConvertOptions& options,
                           const FolderCheck& check) {
  io::Confine(in);
  CheckHoldsModel(in);
  ConvertReport report;
  std::unique_ptr<io::TensorSource> opened = io::OpenModel(in);
  const fs::path config_file = io::TransformerFolder(in) / "config.json";
  json config, original;
  const ModelFamily* family = nullptr;
  if (io::IsDirectory(in) && io::Exists(config_file)) {
    config = original = io::ReadJsonFile(config_file);
    const auto classes = Architectures(config, Source(config_file));
    if (!classes.empty()) report.from = report.to = classes[0];
    family = FindFamily(ModelTypeIn(config, Source(config_file)));
    if (family != nullptr) {
      report.from = report.to = CompleteConfig(OpenModelFolder(in), &config, &report.warnings);
      opened = WithoutExtraPrefix(std::move(opened), &report.warnings);
    }
    AddConfigWarnings(in, !io::IsNullOrAbsent(config, "auto_map"), &report.warnings);
  }
  const std::shared_ptr<io::TensorSource> source = std::move(opened);
  report.warnings.insert(report.warnings.end(), source->warnings().begin(),
                         source->warnings().end());
  const bool renames = family != nullptr && family->names_to_write != nullptr;
  const auto from = renames ? family->names_to_write(in, *source, report.from, &report.warnings)
                            : OwnNames(*source);
  std::vector<io::TensorEntry> entries;
  for (const auto& [name, stands_for] : from) {
    const io::TensorInfo& info = source->Info(stands_for);
    entries.push_back({name, info.dtype, info.shape, nullptr});
  }
  report.tensors = entries.size();
  ShardLoader load([&](const std::string& name) {
    if (options.on_tensor) options.on_tensor();
    return source->Read(from.at(name));
  });
  io::AtomicDirectory folder(out);
  std::string left_out;
  if (io::IsDirectory(in)) left_out = CopyBeside(in, {}, folder.path(), &report);
  if (config != original) {
    io::WriteFileAtomic(folder.path() / "config.json", io::DumpJson(config));
  }
  const io::ShardedWrite written =
      io::WriteModel(folder.path(), std::move(entries), options.most_bytes, std::ref(load));
  load.Clear();
  OpensAs(check)(folder.path(), out, std::move(left_out), &report.warnings);
  folder.Commit();
  report.bytes = written.bytes;
  report.shards = written.shards;
  return report;
}

}  // namespace longspan
