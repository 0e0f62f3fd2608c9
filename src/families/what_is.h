// Says what a path is that was given as a model, and what to do with it. Every command uses this
// for a folder that it cannot open.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "longspan/error.h"
#include "longspan/types.h"

namespace longspan {

enum class PathKind {
  kMissing,
  kEmpty,       // a folder without a file
  kModel,       // of one of the families
  kForeign,     // a model that cannot be run
  kUnfinished,  // a training's folder before its end
  kTokenizer,   // a tokenizer without a model
  kConfigLess,  // weights without a config.json
  kWeights,     // one file of weights
  kTable,
  kText,
  kFile,    // any other
  kFolder,  // any other
};

struct WhatIs {
  PathKind kind = PathKind::kFolder;
  std::string what;                 // "a BERT (BertForMaskedLM)", escaped
  std::string next = {};            // what to do, with the command where there is one
  nlohmann::json config = nullptr;  // of a folder with a config.json: its content
};

// Looks at names and at most at config.json and a file's first bytes. kFormat for a config.json
// that is no JSON object.
WhatIs LookAt(const std::filesystem::path& path);

// How far the newest checkpoint of a training's folder is.
struct RunSteps {
  idx_t done = 0, all = 0;  // updates; all: those that the training was made for
};
// None where there is no checkpoint, or its state cannot be read.
std::optional<RunSteps> StepsOfRun(const std::filesystem::path& run);

// "PATH: a BERT (...); what to do", and the code for a command that wanted a model.
Error NoModel(const std::filesystem::path& path, const WhatIs& found);

// model_type; where it is absent, what the class in "architectures" or a family's own fields say;
// empty: nothing does.
std::string ModelTypeIn(const nlohmann::json& object, std::string_view source);

// Says how to get a missing model folder.
std::string HowToGet(const std::filesystem::path& path);

}  // namespace longspan
