#include "cli/explanation_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/html_page.h"
#include "cli/visual/clipped.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr std::string_view kTitle = "Which sentences decided";
constexpr std::string_view kStyle =
    R"(:root { --for: 0 114 178; --against: 213 94 0; --strength: .42; }
@media (prefers-color-scheme: dark) {
  :root { --for: 86 180 233; --against: 240 140 60; --strength: .5; }
}
.legend {
  font-family: system-ui, sans-serif; color: var(--soft); font-size: .9rem; margin: .25rem 0;
}
.legend span { padding: .1em .5em; border-radius: .25em; color: var(--ink); }
.text {
  white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card);
  border: 1px solid var(--line);
  border-radius: .5rem; padding: 1rem 1.25rem;
}
.for { background: rgb(var(--for) / calc(var(--s) * var(--strength))); }
.against { background: rgb(var(--against) / calc(var(--s) * var(--strength))); }
.against.strong { text-decoration: underline dotted; text-underline-offset: .2em; }
)";

constexpr std::string_view kLegend =
    "<p class=\"legend\">Each sentence was left out in turn. A shade says how much the score "
    "changes "
    "without it: <span class=\"for\" style=\"--s:.8\">speaks for the label</span> "
    "<span class=\"against strong\" style=\"--s:.8\">speaks against it</span>. In each text the "
    "sentence with the largest change has the darkest shade.</p>\n</header>\n";

std::string_view Words(const TaskText& text, const LeftOut& sentence) {
  const std::string_view whole = sentence.sequence == 0 ? text.text : *text.pair;
  const text::Span bytes = sentence.place.bytes;
  return whole.substr(static_cast<std::size_t>(bytes.begin),
                      static_cast<std::size_t>(bytes.end - bytes.begin));
}

double LargestChange(const ExplainedText& explained, idx_t label) {
  double largest = 0.0;
  for (idx_t i = 0; i < static_cast<idx_t>(explained.sentences.size()); ++i) {
    largest = std::max(largest, std::abs(explained.Influence(i, label)));
  }
  return largest;
}

std::string Shaded(const TaskText& text, const ExplainedText& explained, idx_t label) {
  const double largest = LargestChange(explained, label);
  std::string out = "<div class=\"text\">";
  int sequence = 0;
  for (std::size_t i = 0; i < explained.sentences.size(); ++i) {
    const LeftOut& sentence = explained.sentences[i];
    if (sentence.sequence != sequence) out += "</div>\n<div class=\"text\">";
    sequence = sentence.sequence;
    const double change = explained.Influence(static_cast<idx_t>(i), label);
    const double shade = largest > 0.0 ? std::abs(change) / largest : 0.0;
    const char* const kind = change >= 0.0 ? "for" : shade >= 0.25 ? "against strong" : "against";
    out += fmt::format("<span class=\"{}\" style=\"--s:{:.3f}\" title=\"{}\">{}</span>", kind,
                       shade, SignedChange(change), HtmlText(Words(text, sentence)));
  }
  return out + "</div>\n";
}

std::string Table(const TaskText& text, const ExplainedText& explained, idx_t label, idx_t most) {
  std::string out = "<table>\n<tr><th>change</th><th>characters</th><th>sentence</th></tr>\n";
  for (const idx_t i : explained.MostInfluential(label, most)) {
    const LeftOut& sentence = explained.sentences[static_cast<std::size_t>(i)];
    out += fmt::format(
        "<tr><td class=\"number\">{}</td><td class=\"number\">{}-{}</td><td>{}</td></tr>\n",
        SignedChange(explained.Influence(i, label)), sentence.place.chars.begin,
        sentence.place.chars.end, HtmlText(OneLine(text, sentence, 200)));
  }
  return out + "</table>\n";
}

}  // namespace

std::string NoSentenceDecided(ScoreKind kind) {
  return kind == ScoreKind::kValues
             ? fmt::format("no sentence decided: each changes the number by less than {:.0f} %",
                           100.0 * kDecides)
             : fmt::format("no sentence decided: each changes the score by less than {}", kDecides);
}

std::string SignedChange(double change) { return fmt::format("{:+.4f}", change); }

std::string OneLine(const TaskText& text, const LeftOut& sentence, idx_t columns) {
  std::string line;
  bool space = false;
  for (const char c : Words(text, sentence)) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      space = !line.empty();
    } else {
      if (space) line += ' ';
      line += c;
      space = false;
    }
  }
  return ClipWithDots(Printable(line), columns);
}

ExplanationHtml::ExplanationHtml(const std::string& file, const std::string& model)
    : file_(CheckedHtmlName(file)) {
  file_.Write(HtmlHead(kTitle, kStyle) + "<header>\n<h1>" + std::string(kTitle) +
              "</h1>\n<p>Model: " + HtmlText(model) + "</p>\n" + std::string(kLegend));
}

void ExplanationHtml::Add(const std::string& name, const TaskText& text,
                          const ExplainedText& explained, ScoreKind kind,
                          const std::vector<ExplainedLabel>& labels, idx_t most) {
  std::string part = "<section>\n<h2>" + HtmlText(name) + "</h2>\n";
  for (const ExplainedLabel& label : labels) {
    part += fmt::format("<h3>{}: {:.4f}</h3>\n", HtmlText(label.name),
                        explained.scores[static_cast<std::size_t>(label.label)]);
    if (explained.sentences.empty()) {
      part +=
          "<div class=\"text\">" + HtmlText(text.text) +
          (text.pair ? "\n" + HtmlText(*text.pair) : "") +
          "</div>\n<p class=\"legend\">The text is one sentence: nothing can be left out.</p>\n";
      continue;
    }
    if (!explained.Decided(label.label, kind)) {
      part += "<p class=\"legend\">Here " + NoSentenceDecided(kind) + ".</p>\n";
    }
    part += Shaded(text, explained, label.label);
    part += Table(text, explained, label.label, most);
  }
  file_.Write(part + "</section>\n");
}

void ExplanationHtml::Finish() {
  file_.Write(kHtmlEnd);
  file_.Commit();
}

}  // namespace longspan::cli
