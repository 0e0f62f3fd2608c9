// The explanation of a classifier's answers as a page: `classify --explain --html`.
#pragma once

#include <string>
#include <vector>

#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {

// What one part of the page shows: how the sentences of a text change one label's score.
struct ExplainedLabel {
  idx_t label = 0;
  std::string name;
};

// One HTML file that needs nothing else: it works without a network, has no script, and is light or
// dark as the reader's system is. Everything that comes from outside is escaped. Memory does not
// grow with the number of texts.
class ExplanationHtml {
 public:
  // Begins the file. kUsage unless its name ends in .html or .htm; kIo.
  ExplanationHtml(const std::string& file, const std::string& model);
  // A text with the labels that are explained. The `most` sentences with the largest changes are
  // listed below it.
  void Add(const std::string& name, const TaskText& text, const ExplainedText& explained,
           ScoreKind kind, const std::vector<ExplainedLabel>& labels, idx_t most);
  // Makes the file visible. kIo.
  void Finish();

 private:
  io::AtomicFile file_;
};

// "no sentence decided: ...": of a label for which ExplainedText::Decided is false.
std::string NoSentenceDecided(ScoreKind kind);
// "+0.4103", "-0.0021": a change of a score, with its sign.
std::string SignedChange(double change);
// The sentence on one line: white space is one space each, at most `columns` columns.
std::string OneLine(const TaskText& text, const LeftOut& sentence, idx_t columns);

}  // namespace longspan::cli
