// longspan similar: which vectors or texts are near to others.

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/json_list.h"
#include "cli/option_checks.h"
#include "cli/task_run.h"
#include "cli/vector_options.h"
#include "cli/vector_output.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/vectors.h"

namespace longspan::cli {
namespace {

struct SimilarCommand {
  const CLI::App* command = nullptr;  // whose options these are
  TaskCommand task;
  VectorOptions vectors;  // how texts become vectors
  std::optional<std::string> queries, searched, similarity, ranges, among_prompt, among_prompt_name;
  std::vector<std::string> among;  // texts that are searched
  idx_t top = 10;
  bool matrix = false;
};

// Vectors with what their rows are called, and what results say of them.
struct VectorSide {
  Tensor vectors;
  std::vector<std::string> names;
  std::vector<nlohmann::ordered_json> described;
  std::vector<std::string> texts;  // how each begins; none where only vectors are known
};

constexpr idx_t kShownColumns = 100;  // of a text in the results

// How a text begins, on one line: line breaks, tabs and other blanks are single spaces.
std::string Beginning(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, std::min<std::size_t>(text.size(), 4096))) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (!blank) line += c;
    if (blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  if (line.ends_with(' ')) line.pop_back();
  return ClipColumns(Printable(line), kShownColumns);
}

VectorSide SideOfFile(const std::string& path) {
  VectorFile file = ReadVectorFile(path);
  VectorSide side{std::move(file.vectors), std::move(file.names), {}, {}};
  for (const std::string& name : side.names) side.described.push_back({{"input", name}});
  return side;
}

VectorSide SideOfTexts(TaskRun& run, const InputOptions& options, const Embedder& embedder) {
  TextInputs inputs(options);
  run.Use(embedder.model());
  const TextOf plain = run.PlainText();
  const auto text_of = [&](const InputText& input) { return embedder.Prepare(plain(input)); };
  VectorSide side;
  std::vector<float> values;
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk);) {
    const Tensor vectors = embedder.Embed(run.context(), chunk.rows);
    values.insert(values.end(), vectors.data<float>(), vectors.data<float>() + vectors.size());
    for (std::size_t i = 0; i < chunk.inputs.size(); ++i) {
      const InputText& input = chunk.inputs[i];
      side.texts.push_back(Beginning(plain(input).text));
      side.described.push_back(run.Describe(input, chunk.rows, static_cast<idx_t>(i)));
      side.described.back()["text"] = side.texts.back();
      // A text of the command line has no name that says more.
      side.names.push_back(input.given ? side.texts.back() : chunk.names[i]);
    }
  }
  side.vectors = Tensor({static_cast<idx_t>(side.names.size()), embedder.width()});
  std::copy(values.begin(), values.end(), side.vectors.data<float>());
  return side;
}

// Where results go: a run of the model, or the results alone where both sides are vectors.
class SimilarReport {
 public:
  SimilarReport(const SimilarCommand& c, int threads) : json_(c.task.json), context_(threads) {
    if (c.task.model.empty()) return;
    run_ = std::make_unique<TaskRun>(c.task, "similar", std::nullopt, threads);
    run_->chunk_tokens = std::numeric_limits<idx_t>::max();  // results come at the end
  }

  TaskRun* run() { return run_.get(); }
  const Context& context() { return run_ ? run_->context() : context_; }
  // A member of the document of --json, before the results.
  void Say(const char* member, nlohmann::ordered_json value) {
    (run_ ? run_->members : head_)[member] = std::move(value);
  }
  void Add(nlohmann::ordered_json described, const TaskAnswer& answer) {
    if (run_) return run_->Add(std::move(described), answer);
    if (!json_) return PrintResult(answer.shown);
    described.update(answer.fields);
    results_.Add(head_, described);
  }
  int Finish() {
    if (run_) return run_->Finish();
    if (json_) results_.Finish(head_, nlohmann::ordered_json::object());
    return 0;
  }

 private:
  bool json_;
  Context context_;
  std::unique_ptr<TaskRun> run_;
  nlohmann::ordered_json head_ = {{"task", "similar"}};
  JsonResults results_;
};

// Options about texts, where there are none to become vectors.
void CheckIdle(const SimilarCommand& c) {
  constexpr const char* kOfTexts[] = {
      "--global",       "--overflow",  "--tokens",          "--stride",
      "--batch-tokens", "--dtype",     "--attention",       "--num-hashes",
      "--pooling",      "--normalize", "--allow-nonfinite", "--no-normalize",
      "--prompt-name",  "--no-prompt", "--prompt",          "--truncate-dim"};
  constexpr const char* kOfAmong[] = {"--among-prompt", "--among-prompt-name"};
  if (c.task.model.empty()) RefuseIdle(*c.command, kOfTexts, "where both sides are vectors");
  if (c.among.empty()) RefuseIdle(*c.command, kOfAmong, "where vectors are searched");
}

void CheckSides(const SimilarCommand& c) {
  const bool texts = !c.task.inputs.paths.empty() || !c.task.inputs.texts.empty();
  Check(texts != c.queries.has_value(), ErrorCode::kUsage,
        "similar: queries are texts (FILE, --text) or vectors (--queries FILE); give one of them");
  Check(c.among.empty() == c.searched.has_value(), ErrorCode::kUsage,
        "similar: what is searched are vectors (--vectors FILE) or texts (--among FILE); give one "
        "of them");
  Check(!c.among_prompt || !c.among_prompt_name, ErrorCode::kUsage,
        "similar: --among-prompt and --among-prompt-name name two prompts; give one of them");
  const bool model = texts || !c.among.empty();
  Check(!model || !c.task.model.empty(), ErrorCode::kUsage,
        "similar: texts become vectors by a model; give it with -m");
  Check(model || c.task.model.empty(), ErrorCode::kUsage,
        "similar: -m makes vectors of texts, and there are none");
  CheckIdle(c);
}

// The ranges of int8 vectors: of --ranges, else of the file beside those that are int8.
Tensor RangesFor(const SimilarCommand& c, const std::optional<std::string>& vectors) {
  std::optional<std::filesystem::path> file;
  std::error_code unknown;
  if (c.ranges) {
    file = *c.ranges;
  } else if (vectors && std::filesystem::exists(RangesFileOf(*vectors), unknown)) {
    file = RangesFileOf(*vectors);
  }
  Check(file.has_value(), ErrorCode::kUsage,
        "similar: int8 vectors against float32 ones need the ranges that they were made with; give "
        "the file (NAME.ranges.npy) with --ranges");
  return RangesOf(ReadVectorFile(*file).vectors);
}

// --ranges is for int8 vectors that meet float32 ones, which texts become.
void CheckRanges(const SimilarCommand& c, const VectorSide& queries, const VectorSide& searched) {
  const auto precision = [](const std::optional<std::string>& file, const VectorSide& side) {
    return file ? PrecisionOf(side.vectors) : Precision::kFloat32;
  };
  const Precision one = precision(c.queries, queries), other = precision(c.searched, searched);
  constexpr const char* kRanges[] = {"--ranges"};
  if (one == other || (one != Precision::kInt8 && other != Precision::kInt8)) {
    RefuseIdle(*c.command, kRanges, "where no int8 vectors meet float32 ones");
  }
}

// Makes one precision of two: bits of what meets bits, numbers again of int8 that meets numbers.
void FitPrecision(const SimilarCommand& c, Tensor& queries, Tensor& vectors) {
  const auto fit = [&](Tensor& plain, Tensor& other, const std::optional<std::string>& file) {
    if (PrecisionOf(plain) != Precision::kFloat32) return;
    const Precision wanted = PrecisionOf(other);
    if (wanted == Precision::kUBinary) plain = Quantize(plain, wanted);
    if (wanted == Precision::kInt8) other = Dequantize(other, RangesFor(c, file));
  };
  fit(queries, vectors, c.searched);
  fit(vectors, queries, c.queries);
}

// Where nobody names one.
Similarity SimilarityFor(const Tensor& vectors) {
  return PrecisionOf(vectors) == Precision::kUBinary ? Similarity::kHamming : Similarity::kCosine;
}

TaskAnswer NearestAnswer(const VectorSide& searched, const std::string& name, Similarity similarity,
                         const std::vector<SimilarRow>& rows) {
  TaskAnswer answer;
  auto list = nlohmann::ordered_json::array();
  for (const SimilarRow& row : rows) {
    const auto at = static_cast<std::size_t>(row.row);
    const std::string& found = searched.names[at];
    const std::string column = searched.texts.empty() ? "" : "\t" + searched.texts[at];
    nlohmann::ordered_json entry = {{"row", row.row}, {"name", found}};
    answer.shown += fmt::format("{}\t{}\t", ShownName(name), ShownName(found));
    if (similarity == Similarity::kHamming) {
      entry["distance"] = static_cast<idx_t>(row.score);
      answer.shown += fmt::format("{}{}\n", static_cast<idx_t>(row.score), column);
    } else {
      entry["score"] = row.score;
      answer.shown += fmt::format("{:.4f}{}\n", row.score, column);
    }
    if (!searched.texts.empty()) entry["text"] = searched.texts[at];
    list.push_back(std::move(entry));
  }
  answer.fields["nearest"] = std::move(list);
  return answer;
}

void ReportNearest(const SimilarCommand& c, const VectorSide& queries, const VectorSide& searched,
                   Similarity similarity, SimilarReport& report) {
  const auto found =
      MostSimilar(report.context(), queries.vectors, searched.vectors, similarity, c.top);
  for (std::size_t i = 0; i < found.size(); ++i) {
    report.Add(queries.described[i],
               NearestAnswer(searched, queries.names[i], similarity, found[i]));
  }
}

// A row of scores for each query, one query at a time, so that memory does not grow with them.
void ReportMatrix(const SimilarCommand& c, const VectorSide& queries, const VectorSide& searched,
                  Similarity similarity, SimilarReport& report) {
  report.Say("names", searched.names);
  if (!c.task.json) {
    std::string line;
    for (const std::string& name : searched.names) line += "\t" + ShownName(name);
    PrintResult(line + "\n");
  }
  const idx_t width = queries.vectors.shape()[1];
  Tensor query({1, width}, queries.vectors.dtype());
  for (std::size_t i = 0; i < queries.names.size(); ++i) {
    std::copy_n(static_cast<const char*>(queries.vectors.raw()) + i * query.bytes(), query.bytes(),
                static_cast<char*>(query.raw()));
    const Tensor scores = Similarities(report.context(), query, searched.vectors, similarity);
    const std::vector<double> row(scores.data<double>(), scores.data<double>() + scores.size());
    std::string line = ShownName(queries.names[i]);
    for (const double score : row) line += fmt::format("\t{:.6g}", score);
    report.Add(queries.described[i], {{{"scores", row}}, line + "\n"});
  }
}

// The sides that are texts.
void EmbedSides(const SimilarCommand& c, const EmbedOptions& options, TaskRun& run,
                VectorSide& queries, VectorSide& searched) {
  const TaskModel model = run.model();
  const auto embed = [&](const InputOptions& inputs, const EmbedOptions& as, bool named) {
    const Embedder embedder(model, as);
    if (!c.task.quiet) TellPrompt(embedder, named);
    return SideOfTexts(run, inputs, embedder);
  };
  if (!c.among.empty()) {
    InputOptions inputs = c.task.inputs;
    inputs.paths = c.among;
    inputs.texts.clear();
    EmbedOptions among = options;
    if (c.among_prompt || c.among_prompt_name) {
      among.prompt = c.among_prompt;
      among.prompt_name = c.among_prompt_name;
    }
    searched = embed(inputs, among, c.among_prompt_name.has_value());
  }
  if (!c.queries) queries = embed(c.task.inputs, options, c.vectors.prompt_name.has_value());
}

int RunSimilar(const SimilarCommand& c, int threads) {
  CheckSides(c);
  CheckGivenText("--among-prompt", c.among_prompt.value_or(""));
  const EmbedOptions options = EmbedOptionsOf(c.vectors);
  std::optional<Similarity> similarity;
  if (c.similarity) similarity = ParseSimilarity(*c.similarity);
  VectorSide queries, searched;
  if (c.searched) searched = SideOfFile(*c.searched);
  if (c.queries) queries = SideOfFile(*c.queries);
  CheckRanges(c, queries, searched);
  SimilarReport report(c, threads);
  if (report.run() != nullptr) EmbedSides(c, options, *report.run(), queries, searched);
  if (queries.names.empty() || searched.names.empty()) return report.Finish();
  FitPrecision(c, queries.vectors, searched.vectors);
  if (!similarity) similarity = SimilarityFor(searched.vectors);
  report.Say("similarity", SimilarityName(*similarity));
  if (c.matrix) {
    ReportMatrix(c, queries, searched, *similarity, report);
  } else {
    ReportNearest(c, queries, searched, *similarity, report);
  }
  return report.Finish();
}

}  // namespace

void RegisterSimilar(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<SimilarCommand>();
  c->command = command;
  AddTaskOptions(*command, c->task);
  command->get_option("--model")->required(false)->description(
      "Folder of the model that makes vectors of texts");
  AddVectorOptions(*command, c->vectors);
  AddTextOption(*command, "--queries", c->queries,
                "File of vectors to search with, instead of texts");
  AddTextOption(*command, "--vectors", c->searched,
                "File of vectors to search in: .npy, .jsonl or .json");
  command
      ->add_option("--among", c->among, "File or folder of texts to search in; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1)
      ->type_name("FILE");
  AddTextOption(*command, "--among-prompt-name", c->among_prompt_name,
                "Name of the prompt before the texts of --among");
  AddTextOption(*command, "--among-prompt", c->among_prompt, "Text before the texts of --among");
  command->add_option("--top", c->top, "Number of nearest rows to show")
      ->check(AtLeast(1))
      ->capture_default_str();
  AddTextOption(*command, "--similarity", c->similarity,
                "Measure: cosine, dot or hamming (default: cosine)");
  command->add_flag("--matrix", c->matrix, "Print the scores of all pairs instead of the nearest");
  AddTextOption(*command, "--ranges", c->ranges,
                "Ranges of int8 vectors (default: NAME.ranges.npy beside them)");
  command->footer(
      "Of cosine and dot the largest is nearest, of hamming (bits that differ) the smallest.\n"
      "float32 vectors that meet ubinary ones become bits; int8 ones that meet float32 become\n"
      "numbers again.\n"
      "Examples:\n"
      "  longspan embed -m minilm-long letters/ -o letters.npy\n"
      "  longspan similar -m minilm-long --text 'who went to sea?' --vectors letters.npy --top 3\n"
      "  longspan similar -m minilm-long questions.txt --lines --among letters/ --json\n"
      "  longspan similar --queries a.npy --vectors b.npy --matrix");
  command->callback([command, c, &globals, &action] {
    Check(!c->matrix || command->count("--top") == 0, ErrorCode::kUsage,
          "top: --matrix prints the scores of all pairs; leave one of them out");
    action = [c, &globals] { return RunSimilar(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
