// Models behind one interface: rows of a Reformer without their padding, heads on other encoders.
#include "model/text_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "families/families.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_test.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_test.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/reformer_test.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Throws;

ReformerConfig EncoderConfig(HeadKind head) {
  ReformerConfig c = MixedConfig();
  c.head = head;
  c.is_decoder = false;
  c.local_after = c.lsh_after = 1;
  if (head == HeadKind::kSequence) c.labels = {"a", "b", "c"};
  return c;
}

std::unique_ptr<TextModel> Text(HeadKind head) {
  return MakeTextModel(Initialised(EncoderConfig(head)));
}

// Texts of 21, 40, 21 and 7 tokens as rows of 45: on the left, on the right, in between, on the
// right.
struct Ragged {
  static constexpr idx_t kTokens = 45;
  std::vector<std::vector<std::int32_t>> texts;
  std::vector<idx_t> begins = {0, 5, 11, 38};
  std::vector<std::int32_t> ids, labels, classes = {2, 0, 1, kIgnoreLabel}, starts, ends;
  std::vector<std::uint8_t> roles;

  Ragged()
      : ids(4 * kTokens, 0), labels(4 * kTokens, kIgnoreLabel), roles(4 * kTokens, kHiddenToken) {
    Rng rng(12);
    for (const idx_t length : {21, 40, 21, 7}) {
      std::vector<std::int32_t> text;
      for (idx_t i = 0; i < length; ++i) text.push_back(static_cast<std::int32_t>(rng.Below(31)));
      const auto row = static_cast<idx_t>(texts.size());
      const idx_t at = row * kTokens + begins[texts.size()];
      std::copy(text.begin(), text.end(), ids.begin() + at);
      std::fill_n(roles.begin() + at, length, kLocalToken);
      for (idx_t i = 0; i < length; i += 3) labels[static_cast<std::size_t>(at + i)] = text[0];
      starts.push_back(static_cast<std::int32_t>(begins[texts.size()] + 2));
      ends.push_back(row == 1 ? 99 : static_cast<std::int32_t>(begins[texts.size()] + 6));
      texts.push_back(std::move(text));
    }
  }
  BatchView Batch(bool tokens) const {
    BatchView batch;
    batch.rows = 4;
    batch.tokens = kTokens;
    batch.ids = ids;
    batch.roles = {roles.data(), {4, kTokens}};
    batch.labels = tokens ? labels : classes;
    batch.starts = starts;
    batch.ends = ends;
    return batch;
  }
  // Row r by itself, nothing hidden.
  BatchView Alone(std::size_t r, bool tokens) const {
    BatchView batch;
    batch.rows = 1;
    batch.tokens = static_cast<idx_t>(texts[r].size());
    batch.ids = texts[r];
    const auto begin = static_cast<std::size_t>(static_cast<idx_t>(r) * kTokens + begins[r]);
    batch.labels = tokens ? std::span(labels).subspan(begin, texts[r].size())
                          : std::span(classes).subspan(r, 1);
    batch.starts = starts_alone_;
    batch.ends = r == 1 ? ignored_ : ends_alone_;
    return batch;
  }

 private:
  std::vector<std::int32_t> starts_alone_ = {2}, ends_alone_ = {6}, ignored_ = {99};
};

void ClearGradients(TextModel& model) {
  if (!model.parameters().has_gradients()) model.parameters().AllocateGradients();
  const View<float, 1> gradients = model.parameters().gradients();
  std::fill_n(gradients.data, gradients.size(), 0.0f);
}

// Keys beside hidden ones are weighed in another order: some roundings of numbers up to 4.
constexpr test::Tolerance kRoundings{4e-6, 1e-6};

Tensor Hidden(Context& context, TextModel& model, const BatchView& batch) {
  Tensor hidden({batch.rows * batch.tokens, model.info().width});
  model.Encode(context, batch, hidden.view<2>());
  return hidden;
}

TEST(RaggedRows, ARowIsWhatItIsAlone) {
  Context context(2);
  const Ragged ragged;
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion, HeadKind::kMaskedLm}) {
    const auto model = Text(head);
    const bool tokens = head != HeadKind::kSequence;
    const BatchView batch = ragged.Batch(tokens);
    const Tensor together = Hidden(context, *model, batch);
    const Tensor logits = model->Logits(context, batch, together.view<2>());
    for (std::size_t r = 0; r < 4; ++r) {
      const BatchView one = ragged.Alone(r, tokens);
      const Tensor alone = Hidden(context, *model, one);
      const Tensor own = model->Logits(context, one, alone.view<2>());
      const idx_t at = static_cast<idx_t>(r) * Ragged::kTokens + ragged.begins[r];
      const auto same = [&](const Tensor& all, const Tensor& part, idx_t row) {
        const idx_t width = part.shape()[1];
        EXPECT_MATCHES(
            std::span<const float>(all.data<float>() + row * width,
                                   static_cast<std::size_t>(part.size())),
            std::span<const float>(part.data<float>(), static_cast<std::size_t>(part.size())),
            kRoundings);
      };
      same(together, alone, at);
      same(logits, own, tokens ? at : static_cast<idx_t>(r));
    }
  }
}

TEST(RaggedRows, LossAndGradientsAreTheSumOverRows) {
  Context context(2);
  const Ragged ragged;
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion, HeadKind::kMaskedLm}) {
    const auto model = Text(head);
    const bool tokens = head != HeadKind::kSequence;
    ClearGradients(*model);
    const HeadLoss all = model->LossAndGradients(context, ragged.Batch(tokens), 0.5f, {});
    // To rounding: evaluation adds in fp32, training on a grid.
    EXPECT_NEAR(model->Loss(context, ragged.Batch(tokens)).sum, all.sum, 1e-6 * all.sum);
    const std::vector<float> gradients = Copied(model->parameters().gradients());
    ClearGradients(*model);
    HeadLoss sum;
    for (std::size_t r = 0; r < 4; ++r) {
      const HeadLoss one = model->LossAndGradients(context, ragged.Alone(r, tokens), 0.5f, {});
      sum.sum += one.sum;
      sum.counted += one.counted;
      sum.correct += one.correct;
    }
    EXPECT_NEAR(all.sum, sum.sum, 1e-5 * std::abs(sum.sum));
    EXPECT_EQ(all.counted, sum.counted);
    EXPECT_EQ(all.correct, sum.correct);
    EXPECT_MATCHES(Span(gradients), Span(Copied(model->parameters().gradients())),
                   (test::Tolerance{1e-4, 1e-5}));
  }
}

// A hidden token inside of a text stays hidden and keeps its place.
TEST(RaggedRows, HolesAreNoPadding) {
  Context context(2);
  Ragged ragged;
  ragged.roles[7] = kHiddenToken;
  const auto model = Text(HeadKind::kSequence);
  const Tensor with = Hidden(context, *model, ragged.Batch(false));
  Reformer reformer = Initialised(EncoderConfig(HeadKind::kSequence));
  std::vector<std::uint8_t> mask(21, 1);
  mask[7] = 0;
  const ReformerBatch batch{1, 21, ragged.texts[0], {}, {mask.data(), {1, 21}}};
  Tensor y1({21, 24}), y2({21, 24}), h({21, 48});
  reformer.Encode(context, batch, y1.view<2>(), y2.view<2>());
  reformer.Normalise(context, y1.view<2>(), y2.view<2>(), h.view<2>());
  EXPECT_MATCHES(std::span<const float>(with.data<float>(), 21 * 48),
                 std::span<const float>(h.data<float>(), 21 * 48), kRoundings);
}

TEST(TextModel, SaysWhatAReformerCannot) {
  Context context(1);
  const Ragged ragged;
  const auto model = Text(HeadKind::kSequence);
  model->parameters().AllocateGradients();
  EXPECT_TRUE(Throws([&] { model->ComputeIn(DType::kF16); }, ErrorCode::kUsage, "F16"));
  EXPECT_TRUE(Throws([&] { ResolveGlobal(model->info(), GlobalPolicy::Parse("first:1")); },
                     ErrorCode::kUsage, "no global tokens"));
  EXPECT_EQ(ResolveGlobal(model->info(), GlobalPolicy::Parse("auto")).Name(), "none");
  EXPECT_TRUE(Throws([&] { model->Recompute(); }, ErrorCode::kUsage, "reversible"));
  BatchView nothing = ragged.Batch(false);
  const std::vector<std::uint8_t> hidden(4 * Ragged::kTokens, kHiddenToken);
  nothing.roles = {hidden.data(), {4, Ragged::kTokens}};
  EXPECT_TRUE(Throws([&] { model->Loss(context, nothing); }, ErrorCode::kUsage, "row 0"));
}

// ---- steps from the gradient of the hidden states -----------------------------------------------

constexpr StepDropout kDrops{true, 77};

// Logits (tokens, 2) for the starts and ends of answers: what the question head of a Reformer or a
// Longformer makes of hidden states, and from the loss of both the gradient of those states.
struct QuestionByHand {
  double loss = 0.0;
  Tensor dhidden;

  QuestionByHand(const TextModel& model, const BatchView& batch, const Tensor& hidden)
      : dhidden(hidden.shape()) {
    const auto weight = model.parameters().matrix("qa_outputs.weight");
    const auto bias = model.parameters().vector("qa_outputs.bias");
    const View<const float, 2> h = hidden.view<2>();
    const idx_t width = model.info().width;
    for (idx_t row = 0; row < batch.rows; ++row) {
      for (const idx_t end : {0, 1}) {
        const idx_t wanted = (end == 0 ? batch.starts : batch.ends)[static_cast<std::size_t>(row)];
        if (wanted >= batch.tokens) continue;
        std::vector<double> logits;
        for (idx_t t = row * batch.tokens; t < (row + 1) * batch.tokens; ++t) {
          double logit = bias(end);
          for (idx_t c = 0; c < width; ++c) {
            logit += static_cast<double>(weight(end, c)) * static_cast<double>(h(t, c));
          }
          const bool hidden_token =
              !batch.roles.empty() && batch.roles(row, t - row * batch.tokens) == kHiddenToken;
          logits.push_back(hidden_token ? -1e30 : logit);
        }
        Add(batch.tokens * row, end, wanted, logits, weight);
      }
    }
  }

 private:
  void Add(idx_t first, idx_t end, idx_t wanted, const std::vector<double>& logits,
           const View<const float, 2>& weight) {
    const double most = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const double logit : logits) sum += std::exp(logit - most);
    loss += 0.5 * (std::log(sum) + most - logits[static_cast<std::size_t>(wanted)]);
    for (std::size_t t = 0; t < logits.size(); ++t) {
      const double d =
          0.5 * (std::exp(logits[t] - most) / sum - (static_cast<idx_t>(t) == wanted ? 1.0 : 0.0));
      for (idx_t c = 0; c < weight.extent[1]; ++c) {
        dhidden.view<2>()(first + static_cast<idx_t>(t), c) +=
            static_cast<float>(d * static_cast<double>(weight(end, c)));
      }
    }
  }
};

// The head's own step, and the head by hand with a step from the gradient of the hidden states.
TEST(HiddenGradients, AreThoseOfAHeadsStep) {
  Context context(2);
  const Ragged ragged;
  ReformerConfig reformer = EncoderConfig(HeadKind::kQuestion);
  reformer.hidden_dropout = reformer.local_dropout = reformer.lsh_dropout = 0.2;
  LongformerConfig longformer = SmallLongformer(HeadKind::kQuestion);
  longformer.vocab_size = 40;
  longformer.pad_token = 35;  // none of the texts' tokens
  longformer.max_positions = 100;
  longformer.hidden_dropout = longformer.attention_dropout = 0.2;
  Longformer other(longformer);
  other.Initialise(3);
  std::unique_ptr<TextModel> models[] = {MakeTextModel(Initialised(reformer)),
                                         MakeTextModel(std::move(other))};
  for (const auto& model : models) {
    BatchView batch = ragged.Batch(true);
    // The answers of a Longformer compete with its padding, whose hidden states may be anything.
    if (model->info().global_tokens) batch.roles = {};
    ClearGradients(*model);
    const HeadLoss loss = model->LossAndGradients(context, batch, 1.0f, kDrops);
    const std::vector<float> wanted = Copied(model->parameters().gradients());
    Tensor hidden({batch.rows * batch.tokens, model->info().width});
    model->EncodeInStep(context, batch, kDrops, hidden.view<2>());
    const QuestionByHand head(*model, batch, hidden);
    EXPECT_NEAR(head.loss, loss.sum, 1e-5 * loss.sum);
    ClearGradients(*model);
    model->EncodeGradients(context, batch, head.dhidden.view<2>(), kDrops);
    const std::vector<float> found = Copied(model->parameters().gradients());
    std::vector<float> own, heads;  // of the encoder
    for (const ParameterInfo& info : model->parameters().list()) {
      const auto begin = found.begin() + info.offset, end = begin + info.size;
      if (info.name.starts_with("qa_outputs.")) {
        EXPECT_EQ(std::count(begin, end, 0.0f), info.size);  // a head that had no part
        continue;
      }
      own.insert(own.end(), begin, end);
      heads.insert(heads.end(), wanted.begin() + info.offset,
                   wanted.begin() + info.offset + info.size);
    }
    EXPECT_MATCHES(Span(own), Span(heads), (test::Tolerance{2e-5, 1e-5}));
  }
}

// ---- losses over several batches ----------------------------------------------------------------

// Both passes of a loss over several batches: the logits of a step have its dropout, and gradients
// of logits give what the head's own loss gives.
TEST(LogitsInStep, AreThoseThatTheStepDifferentiates) {
  Context context(2);
  const Ragged ragged;
  ReformerConfig reformer = EncoderConfig(HeadKind::kSequence);
  reformer.hidden_dropout = reformer.local_dropout = reformer.lsh_dropout = 0.2;
  LongformerConfig longformer = SmallLongformer(HeadKind::kSequence);
  longformer.labels = {"a", "b", "c"};
  longformer.vocab_size = 40;
  longformer.pad_token = 35;  // none of the texts' tokens
  longformer.max_positions = 100;
  longformer.hidden_dropout = longformer.attention_dropout = 0.2;
  Longformer other(longformer);
  other.Initialise(3);
  std::vector<std::unique_ptr<TextModel>> models;
  models.push_back(MakeTextModel(Initialised(reformer)));
  models.push_back(MakeTextModel(std::move(other)));
  for (const bool mean : {false, true}) {
    ModernBertConfig config = WithModernDropout(HeadKind::kSequence);
    config.mean_pooling = mean;
    config.vocab_size = 40;
    ModernBert model(config);
    model.Initialise(4);
    models.push_back(MakeTextModel(std::move(model)));
  }
  for (const auto& model : models) {
    SCOPED_TRACE(model->info().title);
    BatchView batch = ragged.Batch(false);
    ClearGradients(*model);
    const HeadLoss loss = model->LossAndGradients(context, batch, 0.5f, kDrops);
    const std::vector<float> wanted = Copied(model->parameters().gradients());
    const Tensor logits = model->LogitsInStep(context, batch, kDrops);
    ASSERT_EQ(logits.shape(), (std::vector<idx_t>{4, 3}));
    Tensor dlogits({4, 3});
    const SequenceTargets targets{ProblemType::kSingleLabel, ragged.classes, {}};
    const HeadLoss again = SequenceLoss(targets, 1.0f, logits.view<2>(), dlogits.data<float>());
    EXPECT_DOUBLE_EQ(again.sum, loss.sum);  // a Reformer adds its groups
    batch.labels = {};
    batch.dlogits = {dlogits.data<float>(), static_cast<std::size_t>(dlogits.size())};
    ClearGradients(*model);
    const HeadLoss linear = model->LossAndGradients(context, batch, 0.5f, kDrops);
    EXPECT_EQ(linear.counted, 12);
    const std::vector<float> found = Copied(model->parameters().gradients());
    EXPECT_EQ(found, wanted);  // halves are exact
    // Without dropout the logits are others.
    EXPECT_NE(logits.view<2>()(0, 0), model->LogitsOfTexts(context, batch).view<2>()(0, 0));
    batch.labels = ragged.classes;
    EXPECT_TRUE(Throws([&] { model->LossAndGradients(context, batch, 1.0f, kDrops); },
                       ErrorCode::kUsage, "gradients of logits stand in the place of labels"));
    batch.labels = {};
    batch.dlogits = batch.dlogits.first(3);
    EXPECT_TRUE(Throws([&] { model->LossAndGradients(context, batch, 1.0f, kDrops); },
                       ErrorCode::kUsage, "batch: 3 "));
  }
  const auto words = Text(HeadKind::kMaskedLm);
  EXPECT_TRUE(Throws([&] { words->LogitsInStep(context, ragged.Batch(true), kDrops); },
                     ErrorCode::kUsage, "has no logits of whole texts"));
}

// sum(hidden * cotangent) of EncodeInStep is what the step that differentiates it finds, to the
// last bit: both passes have one dropout and one way of rounding.
TEST(HiddenGradients, BelongToTheHiddenStatesOfTheSameStep) {
  Context context(2);
  Rng rng(9);
  const idx_t tokens = 40;
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < 2 * tokens; ++i)
    ids.push_back(static_cast<std::int32_t>(4 + rng.Below(20)));
  BatchView batch;
  batch.rows = 2;
  batch.tokens = tokens;
  batch.ids = ids;
  const auto check = [&](auto& model, idx_t width, const auto& encode, const auto& differentiate) {
    Tensor hidden({2 * tokens, width}), cotangent({2 * tokens, width});
    for (idx_t i = 0; i < cotangent.size(); ++i) {
      cotangent.data<float>()[i] = static_cast<float>(rng.Below(200) - 100) / 64.0f;
    }
    model.parameters().AllocateGradients();
    encode(hidden.view<2>());
    double sum = 0.0;
    for (idx_t i = 0; i < hidden.size(); ++i) {
      sum += static_cast<double>(hidden.data<float>()[i]) *
             static_cast<double>(cotangent.data<float>()[i]);
    }
    EXPECT_EQ(sum, differentiate(std::as_const(cotangent).view<2>()));
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    LongformerConfig longformer = SmallLongformer(HeadKind::kNone);
    longformer.hidden_dropout = longformer.attention_dropout = 0.2;
    ModernBertConfig modernbert = SmallModernBert(HeadKind::kNone);
    modernbert.embedding_dropout = modernbert.feed_forward_dropout = 0.2;
    const auto encoder = [&](auto model, idx_t width) {
      model.Initialise(4);
      model.ComputeIn(dtype);
      check(
          model, width,
          [&](const View<float, 2>& h) { model.Encode(context, batch, h, {}, kDrops); },
          [&](const View<const float, 2>& c) {
            return model.CotangentGradients(context, batch, c, {kDrops, {}, {}});
          });
    };
    encoder(Longformer(longformer), longformer.hidden_size);
    encoder(ModernBert(modernbert), modernbert.hidden_size);
    ReformerConfig config = EncoderConfig(HeadKind::kNone);
    config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.2;
    Reformer reformer = Initialised(config);
    reformer.ComputeIn(dtype);
    const ReformerBatch rows{2, tokens, ids, {}, {}};
    check(
        reformer, 2 * config.hidden_size,
        [&](const View<float, 2>& h) { reformer.EncodeInStep(context, rows, kDrops, h); },
        [&](const View<const float, 2>& c) {
          return reformer.CotangentGradients(context, rows, c, kDrops);
        });
  }
}

// ---- heads on other encoders --------------------------------------------------------------------

class OtherHeads : public testing::Test {
 protected:
  std::unique_ptr<TextModel> Load(const WantedHead& wanted, std::vector<std::string>* notes) {
    LoadOptions load;
    load.head = wanted;
    return LoadTextModel(d_.path(), load, notes);
  }
  static std::vector<float> Words(TextModel& model) {
    return Copied(model.parameters().vector("reformer.embeddings.word_embeddings.weight"));
  }
  test::TempDir d_;
};

TEST_F(OtherHeads, ALanguageModelBecomesAClassifier) {
  Reformer start = Initialised(MixedConfig());
  SaveReformer(start, d_.path());
  std::vector<std::string> notes;
  const auto model = Load({HeadKind::kSequence, {"x", "y"}, ProblemType::kSingleLabel, 5}, &notes);
  EXPECT_EQ(model->info().class_name, "ReformerForSequenceClassification");
  EXPECT_EQ(model->info().labels, (std::vector<std::string>{"x", "y"}));
  EXPECT_SAME_BITS(
      Span(Words(*model)),
      Span(Copied(start.parameters().vector("reformer.embeddings.word_embeddings.weight"))));
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0], "changed: is_decoder is false");  // its first token sees the text now
  EXPECT_EQ(notes[1],
            "new: classifier.dense.bias, classifier.dense.weight, classifier.out_proj.bias, "
            "classifier.out_proj.weight");
  EXPECT_EQ(notes[2], "left out: lm_head.bias, lm_head.decoder.weight");
  // What is new is drawn from the seed.
  const auto again = Load({HeadKind::kSequence, {"x", "y"}, ProblemType::kSingleLabel, 5}, nullptr);
  const auto other = Load({HeadKind::kSequence, {"x", "y"}, ProblemType::kSingleLabel, 6}, nullptr);
  const auto dense = [](TextModel& m) {
    return Copied(m.parameters().vector("classifier.dense.weight"));
  };
  EXPECT_SAME_BITS(Span(dense(*again)), Span(dense(*model)));
  EXPECT_NE(dense(*other), dense(*model));
}

TEST_F(OtherHeads, ABareModelGetsAHeadAndKeepsItsEncoder) {
  ReformerConfig config = EncoderConfig(HeadKind::kNone);
  Reformer bare = Initialised(config);
  SaveReformer(bare, d_.path());
  std::vector<std::string> notes;
  const auto model = Load({HeadKind::kQuestion, {}, ProblemType::kInferred, 5}, &notes);
  EXPECT_SAME_BITS(Span(Words(*model)),
                   Span(Copied(bare.parameters().vector("embeddings.word_embeddings.weight"))));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "new: qa_outputs.bias, qa_outputs.weight");
}

// A causal classifier that the files have is what somebody wanted: it stays causal.
TEST_F(OtherHeads, ACausalClassifierStaysCausal) {
  ReformerConfig config = EncoderConfig(HeadKind::kSequence);
  config.is_decoder = true;
  Reformer start = Initialised(config);
  SaveReformer(start, d_.path());
  std::vector<std::string> notes;
  const auto model =
      Load({HeadKind::kSequence, {"x", "y", "z"}, ProblemType::kSingleLabel, 5}, &notes);
  EXPECT_NE(model->ConfigText().find("\"is_decoder\": true"), std::string::npos);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_EQ(notes[0].rfind("new: ", 0), 0u);
}

TEST_F(OtherHeads, TheSameLabelsGoOnAndOthersBeginAnew) {
  Reformer start = Initialised(EncoderConfig(HeadKind::kSequence));
  SaveReformer(start, d_.path());
  std::vector<std::string> same, others;
  Load({HeadKind::kSequence, {"a", "b", "c"}, ProblemType::kSingleLabel, 5}, &same);
  EXPECT_TRUE(same.empty());
  Load({HeadKind::kSequence, {"a", "b", "d"}, ProblemType::kSingleLabel, 5}, &others);
  ASSERT_EQ(others.size(), 2u);
  EXPECT_EQ(others[0].rfind("new: classifier.dense.bias", 0), 0u);
}

// A masked language model reads both ways, and takes what a causal one knows of words.
TEST_F(OtherHeads, ACausalModelBecomesAMaskedOne) {
  Reformer start = Initialised(MixedConfig());
  SaveReformer(start, d_.path());
  std::vector<std::string> notes;
  const auto model = Load({HeadKind::kMaskedLm, {}, ProblemType::kInferred, 5}, &notes);
  EXPECT_EQ(notes, (std::vector<std::string>{"changed: is_decoder is false"}));
  EXPECT_NE(model->ConfigText().find("\"is_decoder\": false"), std::string::npos);
  EXPECT_TRUE(Throws(
      [&] {
        Load({HeadKind::kToken, {"x"}, ProblemType::kInferred, 5}, &notes);
      },
      ErrorCode::kUsage, "Reformer has no such head (token-classify); use one of lm, mlm"));
}

TEST(TextModel, OpensEitherModel) {
  const test::TempDir directory;
  LongformerConfig config = LongformerPreset("tiny");
  config.vocab_size = 40;
  config.head = HeadKind::kSequence;
  Longformer longformer(config);
  longformer.Initialise(3);
  SaveLongformer(longformer, directory.path());
  const TextModelInfo info = ReadTextModelInfo(directory.path());
  EXPECT_EQ(info.class_name, "LongformerForSequenceClassification");
  EXPECT_TRUE(info.global_tokens);
  EXPECT_EQ(info.width, 128);
  EXPECT_EQ(LoadTextModel(directory.path(), {})->info().head, HeadKind::kSequence);
}

}  // namespace
}  // namespace longspan
