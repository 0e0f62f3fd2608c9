// Which rank of a training adds the gradients of which parameters, remembers the optimizer's state
// of them and updates them. All ranks compute the same cut.
#pragma once

#include <span>
#include <vector>

#include "longspan/types.h"
#include "model/parameters.h"

namespace longspan {

// Numbers [begin, end) of a table's gradients(), and the rank that owns them.
struct OwnedRange {
  idx_t begin = 0, end = 0;
  int owner = 0;
  idx_t size() const { return end - begin; }
};

// Elements [begin, end) of a parameter, and the rank that updates them.
struct OwnedPart {
  std::size_t parameter = 0;
  idx_t begin = 0, end = 0;
  int owner = 0;
  idx_t size() const { return end - begin; }
};

// Sums that a rank needs for its update and another one adds.
struct SharedEdge {
  idx_t begin = 0, end = 0;
  int from = 0, to = 0;
  idx_t size() const { return end - begin; }
};

// Where parameters may be cut: an optimizer that looks at each element alone allows any place.
enum class ParameterCut { kAnywhere, kWhole };

// The cut of a table whose frozen parameters are known. Its parts have almost the same number of
// trained elements, and neighbours in the table belong to different ranks: while a backward pass
// goes through the table, no rank has to add all of what has become whole last.
class ParameterShares {
 public:
  // Sums are cut at multiples of so many floats, the blocks of SquaredNorm: their squares are
  // added to the same bits by any number of ranks.
  static constexpr idx_t kUnit = 16384;

  ParameterShares(const ParameterTable& table, ParameterCut cut, int ranks);

  int ranks() const { return ranks_; }
  idx_t extent() const { return extent_; }  // of gradients()
  // What the ranks add, without gaps but those that no trained parameter touches; from the end of
  // the gradients to their front, as a backward pass makes them whole. At most kPiece floats each.
  static constexpr idx_t kPiece = idx_t{1} << 17;
  const std::vector<OwnedRange>& sums() const { return sums_; }
  // Numbers of sums() in [begin, end).
  idx_t SumsIn(idx_t begin, idx_t end) const;
  // None if parameters are cut anywhere.
  const std::vector<SharedEdge>& edges() const { return edges_; }
  // All trained elements, in the order of the parameters.
  const std::vector<OwnedPart>& parts() const { return parts_; }
  // The same as ranges of the table, padding between them included: what an update has changed.
  std::vector<OwnedRange> Updated() const;

  // Sums whose nodes may be on their way at a time: those of the largest stage but the embeddings',
  // so that they travel while the backward pass of the next one is computed.
  idx_t MostOpen() const { return most_open_; }
  // Floats of sums() that one rank owns of MostOpen() neighbours, at most.
  idx_t MostReceived() const;
  // Floats of gradients that the rank with the most has in memory at a time, if what it does not
  // own goes as soon as it was sent, and a stage waits for the one before it.
  idx_t MostResident() const;

 private:
  void CutAnywhere(const ParameterTable& table);
  void CutWhole(const ParameterTable& table);
  void AddParts(const ParameterTable& table);

  int ranks_;
  idx_t extent_;
  idx_t piece_ = kPiece;
  idx_t most_open_ = 1;
  // ParameterTable::WholeBegins(), and the end.
  std::vector<idx_t> stages_;
  std::vector<OwnedRange> owned_;  // ascending; parts() are the trained elements in these
  std::vector<OwnedRange> sums_;
  std::vector<SharedEdge> edges_;
  std::vector<OwnedPart> parts_;
  std::vector<idx_t> offsets_;  // of parameters in gradients()
};

}  // namespace longspan
