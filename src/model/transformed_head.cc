// A head behind a HeadTransform: the inner head reads P(h) in place of h.
#include <utility>

#include "model/head_transform.h"
#include "model/heads.h"
#include "model/rows.h"

namespace longspan {
namespace {

// The rows of another source, transformed.
class TransformedRows final : public HeadRows {
 public:
  TransformedRows(Context& context, const ParameterTable& parameters,
                  const HeadTransform& transform, HeadRows& rows)
      : context_(context), parameters_(parameters), transform_(transform), rows_(rows) {}

  idx_t count() const override { return rows_.count(); }

  void Read(const Look& look) override {
    rows_.Read([&](idx_t begin, const View<const float, 2>& h) {
      Arena::Frame frame(context_.arena(), Arena::Bytes<float>(h.size()));
      const View<float, 2> v = TakeRows(frame, h.extent[0], h.extent[1]);
      transform_.Forward(context_, parameters_, h, v, {}, v);
      look(begin, v);
    });
  }

  void Differentiate(const Gradient& gradient) override {
    rows_.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      Arena::Frame frame(context_.arena(), 3 * Arena::Bytes<float>(h.size()));
      const View<float, 2> slope = TakeRows(frame, h.extent[0], h.extent[1]);
      const View<float, 2> v = TakeRows(frame, h.extent[0], h.extent[1]);
      const View<float, 2> dv = TakeRows(frame, h.extent[0], h.extent[1]);
      const View<float, 2>& u = dh;  // until the dense layer's gradient, which does not read it
      transform_.Forward(context_, parameters_, h, u, slope, v);
      gradient(begin, v, dv);
      transform_.Backward(context_, parameters_, h, u, slope, dv, v, dh);
    });
  }

 private:
  Context& context_;
  const ParameterTable& parameters_;
  const HeadTransform& transform_;
  HeadRows& rows_;
};

class TransformedHead final : public HeadLayer {
 public:
  TransformedHead(HeadTransform transform, idx_t width, std::unique_ptr<HeadLayer> inner)
      : width_(width), transform_(std::move(transform)), inner_(std::move(inner)) {}

  HeadReads reads() const override { return inner_->reads(); }
  idx_t outputs() const override { return inner_->outputs(); }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* bf16,
              const View<const float, 2>& h, const View<float, 2>& logits) const override {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(h.size()));
    const View<float, 2> v = TakeRows(frame, h.extent[0], width_);
    transform_.Forward(context, parameters, h, v, {}, v);
    inner_->Logits(context, parameters, bf16, v, logits);
  }
  std::vector<idx_t> LogitsShape(const BatchView& batch, idx_t count) const override {
    return inner_->LogitsShape(batch, count);
  }
  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    TransformedRows transformed(context, call.parameters, transform_, rows);
    return inner_->Loss(context, call, transformed, backward);
  }
  bool joins_tokens() const override { return inner_->joins_tokens(); }
  ParameterId TallMatrix() const override { return inner_->TallMatrix(); }
  void CheckTargets(const BatchView& batch) const override { inner_->CheckTargets(batch); }
  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return inner_->ForwardFlop(rows, tokens) +
           2.0 * static_cast<double>(tokens) * static_cast<double>(width_ * width_);
  }

 private:
  idx_t width_;
  HeadTransform transform_;
  std::unique_ptr<HeadLayer> inner_;
};

}  // namespace

std::unique_ptr<HeadLayer> MakeTransformedHead(
    const HeadTransformSpec& transform, idx_t width, ParameterTable& table,
    const std::function<std::unique_ptr<HeadLayer>(ParameterTable& table)>& inner) {
  HeadTransform first(transform, width, width, table);
  return std::make_unique<TransformedHead>(std::move(first), width, inner(table));
}

}  // namespace longspan
