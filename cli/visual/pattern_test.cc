#include "cli/visual/pattern.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <string>

#include "catalogue/full.h"
#include "catalogue/lsh.h"
#include "catalogue/mechanism.h"
#include "catalogue/window.h"
#include "cli/visual/cmd_pattern.h"
#include "longspan/error.h"
#include "ops/window_attention/window_attention_ref.h"

namespace longspan::cli {
namespace {

std::vector<float> ChunkedWeights(Context& context, const PatternOptions& options) {
  return SeparateWeights(context, catalogue::ChunkedMechanism(), options);
}

// The kernel's cells as the formula says them, by chunks: query i of chunk c sees key j when
// j's chunk is one of c - before .. c + after around the ring of chunks, j exists, and j <= i when
// causal. A query that sees none weighs its whole window. T <= chunk: the window is everything.
std::vector<bool> VisibleByFormula(const PatternOptions& o) {
  const idx_t tokens = o.tokens;
  const idx_t chunks = (tokens + o.chunk - 1) / o.chunk;
  std::vector<bool> visible(static_cast<std::size_t>(tokens * tokens));
  for (idx_t i = 0; i < tokens; ++i) {
    std::vector<bool> window(static_cast<std::size_t>(tokens), tokens <= o.chunk);
    for (idx_t offset = -o.before; offset <= o.after && tokens > o.chunk; ++offset) {
      const idx_t chunk = ((i / o.chunk + offset) % chunks + chunks) % chunks;
      for (idx_t j = chunk * o.chunk; j < std::min(tokens, (chunk + 1) * o.chunk); ++j) {
        window[static_cast<std::size_t>(j)] = true;
      }
    }
    bool any = false;
    const auto allowed = [&](idx_t j) {
      return window[static_cast<std::size_t>(j)] && j >= o.pad_left && j < tokens - o.pad_right &&
             (!o.causal || j <= i);
    };
    for (idx_t j = 0; j < tokens; ++j) any |= allowed(j);
    for (idx_t j = 0; j < tokens; ++j) {
      visible[static_cast<std::size_t>(i * tokens + j)] =
          any ? allowed(j) : static_cast<bool>(window[static_cast<std::size_t>(j)]);
    }
  }
  return visible;
}

std::string Draw(const std::vector<bool>& cells, idx_t tokens) {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    text += cells[i] ? '#' : '.';
    if ((static_cast<idx_t>(i) + 1) % tokens == 0) text += '\n';
  }
  return text;
}

TEST(ChunkedPattern, KernelSeesWhatTheFormulaSays) {
  Context context(1);
  int cases = 0;
  for (const idx_t tokens : {1, 2, 7, 8, 9, 16, 23, 32, 40}) {
    for (const idx_t chunk : {1, 3, 8, 64}) {
      for (const idx_t before : {0, 1, 2, 3}) {
        for (const idx_t after : {0, 1, 2}) {
          for (const bool causal : {false, true}) {
            for (const auto& [left, right] :
                 {std::pair<idx_t, idx_t>{0, 0}, {0, 3}, {5, 0}, {2, 9}}) {
              if (left + right > tokens) continue;
              PatternOptions options;
              options.tokens = tokens;
              options.chunk = chunk;
              options.before = before;
              options.after = after;
              options.causal = causal;
              options.pad_left = left;
              options.pad_right = right;
              std::vector<bool> seen;
              for (const float weight : ChunkedWeights(context, options)) {
                seen.push_back(weight != 0);
              }
              const std::vector<bool> expected = VisibleByFormula(options);
              ASSERT_EQ(seen, expected) << "T " << tokens << " chunk " << chunk << " before "
                                        << before << " after " << after << " causal " << causal
                                        << " padding " << left << "+" << right << "\nkernel\n"
                                        << Draw(seen, tokens) << "formula\n"
                                        << Draw(expected, tokens);
              ++cases;
            }
          }
        }
      }
    }
  }
  EXPECT_GT(cases, 2000);
}

TEST(ChunkedPattern, ChecksSizes) {
  Context context(1);
  for (const auto& change : std::vector<void (*)(PatternOptions&)>{
           [](PatternOptions& o) { o.tokens = 0; }, [](PatternOptions& o) { o.tokens = 1 << 20; },
           [](PatternOptions& o) { o.pad_left = -1; }, [](PatternOptions& o) { o.pad_right = 33; },
           [](PatternOptions& o) { o.chunk = 0; }, [](PatternOptions& o) { o.before = -1; }}) {
    PatternOptions options;
    change(options);
    EXPECT_THROW(ChunkedWeights(context, options), Error);
  }
}

TEST(FullPattern, KernelSeesWhatTheFormulaSays) {
  Context context(1);
  for (const idx_t tokens : {1, 2, 9, 40}) {
    for (const bool causal : {false, true}) {
      for (const bool shared : {false, true}) {
        for (const auto& [left, right] : {std::pair<idx_t, idx_t>{0, 0}, {0, 1}, {1, 0}, {2, 5}}) {
          if (left + right > tokens) continue;
          PatternOptions o;
          o.tokens = tokens;
          o.causal = causal;
          o.shared = shared;
          o.pad_left = left;
          o.pad_right = right;
          std::vector<bool> seen, expected;
          for (const float weight : catalogue::FullWeights(context, o)) seen.push_back(weight != 0);
          for (idx_t i = 0; i < tokens; ++i) {
            std::vector<bool> row;
            bool any = false;
            for (idx_t j = 0; j < tokens; ++j) {
              row.push_back(j >= left && j < tokens - right && (!causal || j <= i) &&
                            !(shared && j == i));
              any = any || row.back();
            }
            // Nobody is allowed: the token itself, or without sharing everybody.
            for (idx_t j = 0; j < tokens && !any; ++j) {
              row[static_cast<std::size_t>(j)] = !shared || j == i;
            }
            expected.insert(expected.end(), row.begin(), row.end());
          }
          ASSERT_EQ(seen, expected) << "T " << tokens << " causal " << causal << " shared "
                                    << shared << " padding " << left << "+" << right << "\nkernel\n"
                                    << Draw(seen, tokens) << "formula\n"
                                    << Draw(expected, tokens);
        }
      }
    }
  }
}

// Query i sees key j when j lies in the chunks around i's place in the sorted order of some round,
// exists, is not in the future and is not i. A query that sees nobody sees itself.
std::vector<bool> LshVisibleByFormula(const PatternOptions& o,
                                      const std::vector<std::uint16_t>& buckets) {
  const auto T = static_cast<std::size_t>(o.tokens);
  const idx_t n = (o.tokens + o.chunk - 1) / o.chunk, circle = n * o.rounds;
  std::vector<std::vector<std::size_t>> chunks;  // of the circle
  for (idx_t r = 0; r < o.rounds; ++r) {
    std::vector<std::size_t> order(T);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return buckets[static_cast<std::size_t>(r) * T + a] <
             buckets[static_cast<std::size_t>(r) * T + b];
    });
    for (std::size_t i = 0; i < T; ++i) {
      if (static_cast<idx_t>(i) % o.chunk == 0) chunks.emplace_back();
      chunks.back().push_back(order[i]);
    }
  }
  std::vector<bool> visible(T * T);
  for (idx_t c = 0; c < circle; ++c) {
    for (idx_t off = -o.before; off <= o.after; ++off) {
      const idx_t other = off >= circle || -off >= circle ? c : (c + off + circle) % circle;
      for (const std::size_t i : chunks[static_cast<std::size_t>(c)]) {
        for (const std::size_t j : chunks[static_cast<std::size_t>(other)]) {
          const auto key = static_cast<idx_t>(j);
          const bool exists = key >= o.pad_left && key < o.tokens - o.pad_right;
          if (exists && i != j && (!o.causal || j < i)) visible[i * T + j] = true;
        }
      }
    }
  }
  for (std::size_t i = 0; i < T; ++i) {
    const auto row = visible.begin() + static_cast<std::ptrdiff_t>(i * T);
    if (std::none_of(row, row + static_cast<std::ptrdiff_t>(T), [](bool v) { return v; })) {
      visible[i * T + i] = true;
    }
  }
  return visible;
}

TEST(LshPatternTest, KernelSeesWhatTheFormulaSays) {
  Context context(1);
  for (const idx_t tokens : {9, 16, 23, 40}) {
    for (const auto& [before, after] : {std::pair<idx_t, idx_t>{0, 0}, {1, 0}, {1, 1}, {3, 9}}) {
      for (const idx_t rounds : {1, 2, 4}) {
        for (const bool causal : {false, true}) {
          for (const idx_t right : {0, 3}) {
            PatternOptions o;
            o.tokens = tokens;
            o.before = before;
            o.after = after;
            o.rounds = rounds;
            o.causal = causal;
            o.pad_right = right;
            const LshPattern pattern = catalogue::LshWeights(context, o);
            std::vector<bool> seen;
            for (const float weight : pattern.weights) seen.push_back(weight != 0);
            const auto expected = LshVisibleByFormula(o, pattern.buckets);
            ASSERT_EQ(seen, expected)
                << "T " << tokens << " before " << before << " after " << after << " rounds "
                << rounds << " causal " << causal << "\nkernel\n"
                << Draw(seen, tokens) << "formula\n"
                << Draw(expected, tokens);
          }
        }
      }
    }
  }
}

TEST(LshPatternTest, ShowsFourSteps) {
  PatternCommand command;
  command.kind = "lsh";
  command.given = {"--tokens"};
  command.options.tokens = 48;
  const GridSheet sheet = MakePatternSheet(command);
  CheckGrid(sheet);
  ASSERT_EQ(sheet.panels.size(), 4u);
  const auto& text = sheet.panels[0];
  const auto& sorted = sheet.panels[1];
  EXPECT_EQ(text.rows, 2);
  EXPECT_EQ(text.columns, 48);
  auto a = text.group, b = sorted.group;
  std::sort(a.begin(), a.begin() + 48);
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 48, b.begin()));  // round 0, sorted
  EXPECT_GT(std::set<int>(b.begin(), b.end()).size(), 2u);
  EXPECT_EQ(sheet.panels[2].line_every, 8);
}

TEST(LshPatternTest, RefusesWhatCannotBeHashed) {
  Context context(1);
  for (const auto& change : std::vector<void (*)(PatternOptions&)>{
           [](PatternOptions& o) { o.rounds = 0; }, [](PatternOptions& o) { o.buckets = 3; },
           [](PatternOptions& o) { o.buckets = 0; }, [](PatternOptions& o) { o.tokens = 8; },
           [](PatternOptions& o) { o.before = -1; }}) {
    PatternOptions options;
    change(options);
    EXPECT_THROW(catalogue::LshWeights(context, options), Error);
  }
}

// The relation of the mechanism's reference, which asks one pair of tokens at a time.
std::vector<bool> WindowVisibleByReference(const PatternOptions& o, const ref::Roles& roles) {
  WindowSpec spec;
  spec.left = spec.right = o.window;
  spec.dilation = {o.dilation.value_or(1)};
  spec.causal = o.causal;
  ref::WindowShape shape;
  shape.T = o.tokens;
  std::vector<bool> visible;
  for (idx_t i = 0; i < o.tokens; ++i) {
    for (idx_t j = 0; j < o.tokens; ++j) {
      visible.push_back(ref::WindowSees(spec, shape, roles, 0, 0, i, j));
    }
  }
  return visible;
}

// Hidden where padding is, global among the first that exist and where asked.
ref::Roles RolesByFormula(const PatternOptions& o) {
  ref::Roles roles;
  for (idx_t t = 0; t < o.tokens; ++t) {
    const bool exists = t >= o.pad_left && t < o.tokens - o.pad_right;
    const bool first = t - o.pad_left < o.globals.value_or(0);
    const bool named = std::count(o.global_at.begin(), o.global_at.end(), t) > 0;
    roles.push_back(!exists ? kHiddenToken : first || named ? kGlobalToken : kLocalToken);
  }
  return roles;
}

std::vector<PatternOptions> WindowCases() {
  std::vector<PatternOptions> cases;
  for (const idx_t tokens : {1, 2, 9, 23, 40, 80}) {
    for (const idx_t window : {0, 1, 4, 7, 100}) {
      for (const idx_t dilation : {1, 2, 5, 64}) {
        for (const bool causal : {false, true}) {
          for (const idx_t globals : {0, 1, 3}) {
            for (const auto& [left, right] :
                 {std::pair<idx_t, idx_t>{0, 0}, {0, 3}, {5, 0}, {2, 6}}) {
              if (left + right + globals > tokens) continue;
              PatternOptions o;
              o.tokens = tokens;
              o.window = window;
              o.dilation = dilation;
              o.causal = causal;
              o.globals = globals;
              if (globals > 0 && tokens > 9) o.global_at = {tokens - right - 1, tokens / 2};
              o.pad_left = left;
              o.pad_right = right;
              cases.push_back(o);
            }
          }
        }
      }
    }
  }
  return cases;
}

TEST(WindowPatternTest, KernelsSeeWhatTheReferenceSays) {
  Context context(1);
  const std::vector<PatternOptions> cases = WindowCases();
  EXPECT_GT(cases.size(), 1000u);
  for (const PatternOptions& o : cases) {
    std::vector<bool> seen;
    for (const float weight : catalogue::WindowWeights(context, o)) seen.push_back(weight != 0);
    const std::vector<bool> expected = WindowVisibleByReference(o, RolesByFormula(o));
    ASSERT_EQ(seen, expected) << "T " << o.tokens << " window " << o.window << " dilation "
                              << *o.dilation << " causal " << o.causal << " globals " << *o.globals
                              << " padding " << o.pad_left << "+" << o.pad_right << "\nkernel\n"
                              << Draw(seen, o.tokens) << "reference\n"
                              << Draw(expected, o.tokens);
  }
}

// Every cell of a drawn panel: visible as the reference says, and in the colour of what shows it.
void ExpectWindowPanel(const GridSheet& sheet, const GridPanel& panel, const PatternOptions& o) {
  SCOPED_TRACE(panel.title);
  const ref::Roles roles = RolesByFormula(o);
  const std::vector<bool> visible = WindowVisibleByReference(o, roles);
  ASSERT_EQ(panel.weight.size(), visible.size());
  const std::size_t tokens = roles.size();
  for (std::size_t i = 0; i < visible.size(); ++i) {
    const std::size_t query = i / tokens, key = i % tokens;
    ASSERT_EQ(panel.weight[i], visible[i] ? 1.0f : 0.0f) << query << " " << key;
    const bool global = roles[query] == kGlobalToken || roles[key] == kGlobalToken;
    const std::string_view group = query == key ? "the token itself"
                                   : global     ? "a global token sees or is seen"
                                                : "in the window";
    if (!visible[i]) continue;
    ASSERT_EQ(sheet.groups[panel.group[i]].name, group) << query << " " << key;
  }
}

TEST(WindowPatternTest, DrawnCellsAreTheReferences) {
  for (const bool causal : {false, true}) {
    PatternCommand command;
    command.kind = "window";
    command.given = {"--globals"};
    command.options.causal = causal;
    if (causal) command.given.push_back("--causal");
    command.options.globals = 2;
    command.options.global_at = {17};
    command.options.dilation = 2;
    command.options.pad_right = 4;
    const GridSheet sheet = MakePatternSheet(command);
    CheckGrid(sheet);
    ASSERT_EQ(sheet.panels.size(), 1u);
    ExpectWindowPanel(sheet, sheet.panels[0], command.options);
  }
}

// Panels (b), (c) and (d); `window` has neither dilation nor global tokens.
void ExpectPaperPanels(const GridSheet& sheet, const PatternOptions& window, idx_t dilation,
                       const std::vector<idx_t>& global_at) {
  PatternOptions dilated = window, global = window;
  dilated.dilation = dilation;
  global.global_at = global_at;
  ExpectWindowPanel(sheet, sheet.panels[1], window);
  ExpectWindowPanel(sheet, sheet.panels[2], dilated);
  ExpectWindowPanel(sheet, sheet.panels[3], global);
}

TEST(LongformerPatternTest, DrawsTheFourPanelsOfThePaper) {
  for (const bool causal : {false, true}) {
    PatternCommand command;
    command.kind = "longformer";
    command.given = {"--tokens", "--causal"};
    command.options.tokens = 30;
    command.options.window = 3;
    command.options.causal = causal;
    const GridSheet sheet = MakePatternSheet(command);
    CheckGrid(sheet);
    ASSERT_EQ(sheet.panels.size(), 4u);
    for (std::size_t i = 0; i < 900; ++i) {
      ASSERT_EQ(sheet.panels[0].weight[i] > 0, !causal || i % 30 <= i / 30) << i;
    }
    ExpectPaperPanels(sheet, command.options, 2, {0, 10, 20});
  }
}

TEST(LongformerPatternTest, TakesTheOptionsPanelByPanel) {
  PatternCommand command;
  command.kind = "longformer";
  command.given = {"--dilation", "--global-at", "--pad-left"};
  command.options.dilation = 3;
  command.options.global_at = {9};
  command.options.pad_left = 2;
  const GridSheet sheet = MakePatternSheet(command);
  ASSERT_EQ(sheet.panels.size(), 4u);
  PatternOptions window = command.options;
  window.causal = false;  // of the kind
  window.global_at.clear();
  window.dilation = 1;
  ExpectPaperPanels(sheet, window, 3, {9});
}

TEST(PatternSheet, GalleryShowsEveryGroup) {
  PatternCommand command;
  command.kind = "chunked";
  const GridSheet sheet = MakePatternSheet(command);
  CheckGrid(sheet);
  EXPECT_EQ(sheet.panels.size(), 4u);
  std::set<int> groups;
  for (const GridPanel& panel : sheet.panels) {
    for (std::size_t i = 0; i < panel.weight.size(); ++i) {
      if (panel.weight[i] > 0) groups.insert(panel.group[i]);
    }
  }
  EXPECT_EQ(groups.size(), sheet.groups.size());
}

TEST(PatternSheet, WithoutAKindItShowsAll) {
  const GridSheet sheet = MakePatternSheet({});
  CheckGrid(sheet);
  EXPECT_EQ(sheet.panels.size(), 18u);
  std::set<std::string> names;
  for (const GridGroup& group : sheet.groups) EXPECT_TRUE(names.insert(group.name).second);
}

// What the command line does, down to the action.
int RunLine(std::vector<std::string> arguments) {
  CLI::App app;
  const Globals globals;
  Action action;
  RegisterPattern(app.add_subcommand("pattern"), globals, action);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return action();
}

TEST(PatternSheet, OverviewHasOnePanelOfEachMechanism) {
  PatternCommand command;
  command.kind = "overview";
  const GridSheet sheet = MakePatternSheet(command);
  ASSERT_EQ(sheet.panels.size(), 4u);
  std::vector<idx_t> visible;
  for (const GridPanel& panel : sheet.panels) {
    visible.push_back(std::count_if(panel.weight.begin(), panel.weight.end(),
                                    [](float weight) { return weight > 0; }));
  }
  const idx_t full = 32 * 33 / 2;
  EXPECT_EQ(visible[0], full);
  for (std::size_t i = 1; i < visible.size(); ++i) EXPECT_LT(visible[i], full * 2 / 3) << i;
  command.given = {"--chunk"};
  EXPECT_THROW(MakePatternSheet(command), Error);
}

TEST(PatternCommand, PrintsJson) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunLine({"pattern", "--tokens", "6", "--chunk", "2", "--no-causal", "--json"}), 0);
  const auto document = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  ASSERT_EQ(document["panels"].size(), 1u);
  const auto& panel = document["panels"][0];
  EXPECT_EQ(panel["queries"], 6);
  EXPECT_EQ(panel["visible_pairs"], 24);
  EXPECT_EQ(panel["visible"][0], (std::vector<int>{1, 1, 0, 0, 1, 1}));
}

TEST(PatternCommand, WritesPicturesAndPrintsText) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "longspan_pattern_test";
  std::filesystem::create_directories(folder);
  for (const char* name : {"sheet.svg", "sheet.png"}) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(RunLine({"pattern", "-o", (folder / name).string()}), 0);
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    EXPECT_GT(std::filesystem::file_size(folder / name), 10000u);
  }
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunLine({"pattern", "--kind", "chunked"}), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("Causal, look-back of two chunks"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(PatternCommand, RefusesWithTheRightCode) {
  const auto code = [](std::vector<std::string> arguments) {
    try {
      RunLine(std::move(arguments));
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
    return 0;
  };
  EXPECT_EQ(code({"pattern", "--kind", "spiral"}), 2);
  EXPECT_EQ(code({"pattern", "-o", "cells.pdf"}), 2);
  EXPECT_EQ(code({"pattern", "--tokens", "100000"}), 2);
  EXPECT_EQ(code({"pattern", "--window", "4"}), 2);  // of another kind
  for (const std::string kind : {"window", "longformer"}) {
    EXPECT_EQ(code({"pattern", "--kind", kind, "--window", "-1"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--dilation", "0"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--globals", "-1"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--globals", "33"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--globals", "30", "--pad-left", "3"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--global-at", "5,32"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--global-at", "0", "--pad-left", "1"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--chunk", "4"}), 2);
    EXPECT_EQ(code({"pattern", "--kind", kind, "--tokens", "0"}), 2);
  }
  EXPECT_EQ(code({"pattern", "-o", "/nonexistent/folder/cells.svg"}), 4);
}

}  // namespace
}  // namespace longspan::cli
