// The answers to many texts as parts, each of which waits in a file beside the output until all are
// there. So the ranks of MPI share the texts, and a run that was stopped goes on. A part is a chunk
// of texts as the reader gives them (TextSource::NextChunk), which a process alone computes
// together, too: who computes which part changes no bit.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "cli/text_inputs.h"
#include "longspan/types.h"
#include "longspan/world.h"

namespace longspan::cli {

// How much was encoded.
struct PartCounts {
  idx_t texts = 0, rows = 0, tokens = 0, globals = 0;
  void Add(const PartCounts& other);
};

// What became of the texts of one part.
struct AnswerPart {
  // In the order of the texts. The one who asks the model writes and reads them.
  nlohmann::ordered_json records = nlohmann::ordered_json::array();
  std::vector<float> vectors;  // of `embed`: those of its texts, one after another
  PartCounts counts;
};

// The rank that computes each part: the largest part first, each to the rank that has the fewest
// bytes so far. `bytes` of a part that need not be computed is 0, and its owner is -1.
std::vector<int> DealParts(std::span<const std::uint64_t> bytes, int ranks);

// How far all ranks are.
struct PartsState {
  idx_t done = 0, all = 0;                      // parts
  std::uint64_t done_bytes = 0, all_bytes = 0;  // of their texts; without those done before
};

// kUsage where finished parts of an earlier run lie beside `output`: hours of work are not thrown
// away because --resume is missing.
void CheckNoParts(const std::filesystem::path& output);

// The parts of one output. All ranks call Begin, Next, Write and Meet; all that fails is kIo, and
// kPeer when another rank fails.
class AnswerParts {
 public:
  // The files lie in a hidden folder beside `output`, which all ranks must see. `resume`: parts
  // that are there already need not be computed.
  AnswerParts(World& world, const std::filesystem::path& output, bool resume);
  ~AnswerParts();
  AnswerParts(const AnswerParts&) = delete;
  AnswerParts& operator=(const AnswerParts&) = delete;

  bool begun() const { return !checksums_.empty(); }
  // Together. Rank 0 reads all `texts` once and says which rank computes which part. `setup` is a
  // checksum of all that decides the answers but the texts: kUsage when parts of another one are
  // there; kLocked when another process is writing this output. `note` gets what the reader passed
  // over.
  void Begin(TextInputs texts, const std::string& setup,
             const std::function<void(const std::string&)>& note);
  // The texts of this rank's next part; none: that was all. kFormat when they are not what rank 0
  // has read.
  std::vector<InputText> Next(TextInputs& inputs);
  // What became of the texts of the last Next, if it gave any.
  void Write(const AnswerPart& part);
  // As the folder shows it, looked at every other second at most.
  PartsState Look();
  // Together, after this rank's last part: waits for the others. `show` gets a look every other
  // second, on another thread.
  void Meet(const std::function<void(const PartsState&)>& show);
  // Rank 0, after Meet: the parts of all ranks, in the order of the texts; `before`: it was done
  // when this run began.
  void ForEach(const std::function<void(const AnswerPart& part, bool before)>& take) const;
  // Rank 0, when the output is written: removes the folder.
  void Remove() noexcept;

 private:
  std::filesystem::path FileOf(std::size_t part) const;
  void Scan(TextInputs& texts, const std::function<void(const std::string&)>& note);
  void FindDone();
  void Share();

  World& world_;
  std::filesystem::path folder_;
  bool resume_;
  int lock_ = -1;
  std::string setup_;
  std::vector<std::uint64_t> bytes_;  // of each part's texts, at least 1
  std::vector<std::string> checksums_;
  std::vector<char> before_;  // whether a part was done when this run began
  std::vector<int> owner_;
  std::size_t next_ = 0;  // part that the reader gives next
  std::size_t open_ = 0;  // 1 + the part of the last Next; 0: none
  PartsState state_;
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace longspan::cli
