// Reads the files of sentence-transformers beside a model.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/tasks.h"
#include "tasks/pooling.h"
#include "tasks/prompts.h"
#include "tasks/vector_modules.h"

namespace longspan {

// A JSON object in a file that a folder may have: empty if it has none. kFormat for other JSON.
struct FolderObject {
  nlohmann::json object = nlohmann::json::object();
  std::string source;  // names the file in messages
};
FolderObject ReadFolderObject(const std::filesystem::path& file);

// One entry of modules.json.
struct SentenceModule {
  std::string type;  // "sentence_transformers.models.Pooling"
  std::string kind;  // "Pooling"
  std::string path;  // "1_Pooling"; the folder itself: empty
};
// modules.json, which messages call `source`. kFormat for a module of an unknown kind.
std::vector<SentenceModule> ReadModules(const std::filesystem::path& file, std::string_view source);
// A transformer's module had the name of its family once.
bool IsTransformer(std::string_view kind);

// What the transformer's own file says: sentence_bert_config.json and its older names.
struct TransformerSettings {
  std::optional<idx_t> max_tokens;  // longer texts are cut there
  bool lower_case = false;          // texts and prompts, before the tokenizer
};
// Newer files say which of the transformer's results is used; kFormat for another than this one.
struct TransformerUse {
  std::string_view task, output, method_output;
};
TransformerSettings ReadTransformerSettings(const std::filesystem::path& directory,
                                            const SentenceModule& module,
                                            const TransformerUse& use);

struct SentenceFolder {
  Pooling pooling;
  VectorModules modules;  // behind the pooling, one after another
  TransformerSettings transformer;
  Prompts prompts;
  std::optional<idx_t> truncate_dim;  // numbers of a vector that stay, if it has more
};

// modules.json with the modules' folders, the transformer's sentence_*_config.json and
// config_sentence_transformers.json. Types are known by the last part of their names, which have
// moved between packages. A folder without modules.json has the mean and nothing behind it. kFormat
// for what cannot be done: a module that is unknown or stands where it cannot, vectors that are not
// as wide as a module wants. `channels`: of the model's vectors.
SentenceFolder ReadSentenceFolder(const std::filesystem::path& directory, idx_t channels);

// What a training changes in the files of sentence-transformers.
struct SentenceFolderUpdate {
  idx_t channels = 0;                          // of the model's vectors
  idx_t max_tokens = 0;                        // of a row
  std::optional<Pooling> pooling;              // absent: as the folder has it
  std::optional<std::string> query, document;  // prompts of these names; absent: as they are
};
// Makes a model's folder one of sentence-transformers, or updates the files of one that it is:
// modules.json, the pooling's config.json, sentence_bert_config.json and
// config_sentence_transformers.json. Everything else in them stays. kFormat, kIo.
void WriteSentenceFolder(const std::filesystem::path& directory,
                         const SentenceFolderUpdate& update);

// Rows no longer than the folder's files say. Who asks for a length knows better than the files.
TaskModel Shortened(const TaskModel& model, const std::optional<idx_t>& most);

// Width of the final vectors. Throws kFormat if a module does not accept its input's width.
idx_t VectorWidth(const Pooling& pooling, const VectorModules& modules, idx_t channels);

// A text in lower case, character by character, as Hugging Face's Lowercase normalizer.
std::string LowerCaseText(std::string_view text);

}  // namespace longspan
