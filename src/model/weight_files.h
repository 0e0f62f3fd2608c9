// A parameter table from the tensors of a file, and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.h"
#include "model/load_options.h"
#include "model/parameters.h"

namespace longspan {

// The names that files of a kind of model give to its parameters.
struct WeightNames {
  // The name under which a file holds a parameter; empty when it does not.
  std::function<std::string(const io::TensorSource& source, const std::string& name)> find;
  // Tensors that are no parameters and no reason for a warning.
  std::function<bool(std::string_view name)> ignored;
  // Parameters that are not to be read; empty: none.
  std::function<bool(std::string_view name)> skipped = {};
  // What messages call a tensor of the source; empty: by its name there.
  std::function<std::string(std::string_view name)> told = {};
};

// What of the file does not fit the table, for the end of a message, without what is skipped: "2
// tensors do not fit config.json: A is missing; B has shape (3, 12), the config needs (2, 12)", up
// to ten of them, and tensors that have no place. Empty: all fits. Reads no values.
std::string UnfitTensors(const io::TensorSource& source, const WeightNames& names,
                         const ParameterTable& table);

// kFormat when the file has fewer numbers than the config needs: checked before anything is
// allocated by what a config says. unfit() is UnfitTensors for a table without memory of its own,
// and is called only then.
void CheckFileHolds(const io::TensorSource& source, std::uint64_t needed,
                    const std::function<std::string()>& unfit);

// The tensors of the file that no parameter of the table is read from, nothing read.
std::vector<std::string> UnreadTensors(const io::TensorSource& source, const WeightNames& names,
                                       const ParameterTable& table);

// The tensors as messages call them.
std::vector<std::string> ToldNames(const WeightNames& names, std::vector<std::string> tensors);

// Fills the table, but for what is skipped. kFormat is UnfitTensors. Returns UnreadTensors.
std::vector<std::string> ReadParameters(const io::TensorSource& source, const WeightNames& names,
                                        io::NonFinite non_finite, ParameterTable& table);

// Throws kFormat for unused tensors if the policy forbids them (io/policy.h: `--strict`).
void CheckUnread(const io::TensorSource& source, const std::vector<std::string>& unread);

// Adds warnings about the files, and a line for each of the first unused tensors; or throws
// CheckUnread's error. `warnings` may be null.
void AddWarnings(const io::TensorSource& source, const std::vector<std::string>& unread,
                 std::vector<std::string>* warnings);

// Adds warnings about a config.json: `custom_code` if it has an auto_map.
void AddConfigWarnings(const std::filesystem::path& directory, bool custom_code,
                       std::vector<std::string>* warnings);

// How the files of a family hold a model.
struct WeightRules {
  WeightNames names;
  // Parameters that another head of the family does not have.
  std::function<bool(std::string_view name)> of_head;
  // Tensors that another head of the family has. Under a wanted head they may stay unread.
  std::function<bool(std::string_view name)> of_known_head;
};

// The names of a folder that is loaded with these options: under a wanted head those of the files'
// own head are skipped.
WeightNames NamesWithoutHead(const WeightRules& rules, const LoadOptions& options);

// The files of a model that is being loaded.
struct OpenedWeights {
  const io::TensorSource& source;
  std::vector<std::string> notes;    // about the config and the names
  std::vector<std::string> changes;  // "changed: ..." of the config, for the wanted head
  std::vector<std::string> dropped;  // tensors that have no place in the model
  bool custom_code = false;          // the config has an auto_map
};

// Draws the parameters that `which` names.
using DrawParameters =
    std::function<void(std::uint64_t seed, const std::function<bool(std::string_view)>& which)>;

// Fills a new model. kFormat lists up to ten tensors that are missing or have another shape; extra
// tensors become one line each in `warnings`, which may be null.
//
// With options.head, head tensors that the files hold under the same name and shape are taken if
// `take_head`, which is false for a head over other labels. The others are drawn, and one warning
// "new: ..." names them; one "left out: ..." names what of the files has no place.
void LoadWeights(const std::filesystem::path& directory, const OpenedWeights& files,
                 const WeightRules& rules, const LoadOptions& options, bool take_head,
                 ParameterTable& table, const DrawParameters& draw,
                 std::vector<std::string>* warnings);

// "a, b, c", escaped; of many names the first and how many there are.
std::string NameList(const std::vector<std::string>& names);

// The tensors as the files hold them, on the table's own memory.
std::vector<io::TensorEntry> WeightEntries(const ParameterTable& table);

// Adds entry `name` once more as `alias`, for readers that look for it there.
void AddAlias(std::string_view name, std::string_view alias, std::vector<io::TensorEntry>* entries);

}  // namespace longspan
