// The fields of every family's configuration that say which head a model has.
#pragma once

#include <string>
#include <vector>

#include "model/head_kind.h"
#include "model/label_fields.h"
#include "model/wanted_head.h"

namespace longspan {

struct HeadFields {
  // That of the config's "architectures", or that of the weights if the config does not name
  // exactly one class.
  HeadKind head = HeadKind::kNone;
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};  // id2label
  ProblemType problem = ProblemType::kInferred;
  std::vector<std::string> notes;  // what is odd about the labels: one line each

  idx_t label_count() const { return static_cast<idx_t>(labels.size()); }

  // Takes over the head that is wanted. Returns false if the head in the files is over other
  // labels, so that its numbers mean something else.
  bool Put(const WantedHead& wanted);
};

inline bool HeadFields::Put(const WantedHead& wanted) {
  const bool same =
      wanted.labels.empty() || (head == wanted.head && labels == wanted.labels &&
                                (wanted.problem == problem || problem == ProblemType::kInferred));
  head = wanted.head;
  problem = wanted.problem;
  if (!wanted.labels.empty()) labels = wanted.labels;
  return same;
}

}  // namespace longspan
