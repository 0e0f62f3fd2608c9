#include "text/sentencepiece_file.h"

#include <bit>
#include <cmath>
#include <unordered_set>

#include "base/errors.h"
#include "base/limits.h"
#include "longspan/files.h"
#include "text/characters_map.h"
#include "text/tokenizer_limits.h"

namespace longspan::text {
namespace {

// A field of a message in the wire format of protocol buffers: its number, and its value as an
// integer (variants and fixed sizes) or as bytes.
struct Field {
  std::uint32_t number = 0;
  std::uint64_t integer = 0;
  std::string_view bytes;
  bool is_bytes = false;
};

// Reads the fields of one message.
class Message {
 public:
  Message(std::string_view bytes, std::string_view source, std::string_view name)
      : bytes_(bytes), source_(source), name_(name) {}

  bool Next(Field* field) {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = Varint();
    *field = {};
    field->number = static_cast<std::uint32_t>(tag >> 3);
    Require(field->number > 0 && tag >> 3 < (1u << 29), "a field without a number");
    switch (tag & 7) {
      case 0:
        field->integer = Varint();
        return true;
      case 1:
        field->integer = Fixed(8);
        return true;
      case 2: {
        const std::uint64_t size = Varint();
        Require(size <= bytes_.size() - at_, "a field that is longer than its message");
        field->is_bytes = true;
        field->bytes = bytes_.substr(at_, static_cast<std::size_t>(size));
        at_ += static_cast<std::size_t>(size);
        return true;
      }
      case 5:
        field->integer = Fixed(4);
        return true;
      default:
        Require(false, "a field of an unknown type");
    }
    return false;
  }

  std::size_t at() const { return at_; }  // behind the last field
  std::string Text(const Field& field, std::size_t most) const {
    Check(field.is_bytes && field.bytes.size() <= most, ErrorCode::kFormat,
          "{}: {}: field {} must be a text of at most {} bytes, has {}", source_, name_,
          field.number, most, field.bytes.size());
    return std::string(field.bytes);
  }
  std::uint64_t Integer(const Field& field) const {
    Check(!field.is_bytes, ErrorCode::kFormat, "{}: {}: field {} must be a number", source_, name_,
          field.number);
    return field.integer;
  }

 private:
  void Require(bool holds, std::string_view what) const {
    Check(holds, ErrorCode::kFormat, "{}: damaged: {} at byte {} has {}", source_, name_, at_,
          what);
  }
  std::uint64_t Varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      Require(at_ < bytes_.size(), "a number that is cut off");
      const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    Require(false, "a number of more than 64 bits");
    return 0;
  }
  std::uint64_t Fixed(std::size_t size) {
    Require(size <= bytes_.size() - at_, "a number that is cut off");
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) {
      value = value << 8 | static_cast<std::uint8_t>(bytes_[at_ + i]);
    }
    at_ += size;
    return value;
  }

  std::string_view bytes_, source_, name_;
  std::size_t at_ = 0;
};

// Numbers of the fields, as the library's sentencepiece_model.proto gives them.
namespace model {
constexpr std::uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3, kSamples = 4, kDenormalizer = 5;
}
namespace piece {
constexpr std::uint32_t kText = 1, kScore = 2, kType = 3;
}
namespace trainer {
constexpr std::uint32_t kKind = 3, kSpaceAsSuffix = 24, kByteFallback = 35, kUnkSurface = 44,
                        kBos = 46, kEos = 47, kPad = 48;
}
namespace normalizer {
constexpr std::uint32_t kMap = 2, kDummyPrefix = 3, kDropExtraSpaces = 4, kEscapeSpaces = 5;
}

SentencePiece ReadPiece(std::string_view bytes, std::string_view source, std::size_t id) {
  const std::string name = fmt::format("piece {}", id);
  Message message(bytes, source, name);
  SentencePiece result;
  for (Field field; message.Next(&field);) {
    if (field.number == piece::kText) {
      result.text = message.Text(field, kLongestToken);
    } else if (field.number == piece::kScore) {
      result.score = std::bit_cast<float>(static_cast<std::uint32_t>(message.Integer(field)));
    } else if (field.number == piece::kType) {
      const std::uint64_t type = message.Integer(field);
      Check(type >= 1 && type <= 6, ErrorCode::kFormat, "{}: {} has the unknown type {}", source,
            name, type);
      result.type = static_cast<PieceType>(type);
    }
  }
  Check(!result.text.empty(), ErrorCode::kFormat, "{}: {} is empty", source, name);
  Check(result.text.find('\0') == std::string::npos, ErrorCode::kFormat,
        "{}: {} \"{}\" has a zero byte", source, name, io::Escape(result.text));
  Check(std::isfinite(result.score), ErrorCode::kFormat, "{}: {} \"{}\" has the score {}", source,
        name, io::Escape(result.text), result.score);
  return result;
}

void ReadTrainer(std::string_view bytes, std::string_view source, SentencePieceFile* file) {
  Message message(bytes, source, "trainer_spec");
  for (Field field; message.Next(&field);) {
    switch (field.number) {
      case trainer::kKind: {
        const std::uint64_t kind = message.Integer(field);
        Check(kind == 1 || kind == 2, ErrorCode::kFormat,
              "{}: model type {} is not read, only unigram (1) and BPE (2)", source,
              kind == 3   ? "word (3)"
              : kind == 4 ? "char (4)"
                          : std::to_string(kind));
        file->kind = static_cast<SentencePieceFile::Kind>(kind);
        break;
      }
      case trainer::kSpaceAsSuffix:
        file->space_as_suffix = message.Integer(field) != 0;
        break;
      case trainer::kByteFallback:
        file->byte_fallback = message.Integer(field) != 0;
        break;
      case trainer::kUnkSurface:
        message.Text(field, kLongestToken);
        break;
      case trainer::kBos:
        file->bos = message.Text(field, kLongestToken);
        break;
      case trainer::kEos:
        file->eos = message.Text(field, kLongestToken);
        break;
      case trainer::kPad:
        file->pad = message.Text(field, kLongestToken);
        break;
      default:
        break;  // how it was trained
    }
  }
}

void ReadNormalizer(std::string_view bytes, std::string_view source, SentencePieceFile* file) {
  Message message(bytes, source, "normalizer_spec");
  for (Field field; message.Next(&field);) {
    switch (field.number) {
      case normalizer::kMap:
        file->characters_map = message.Text(field, limits::kMostMapBytes);
        break;
      case normalizer::kDummyPrefix:
        file->dummy_prefix = message.Integer(field) != 0;
        break;
      case normalizer::kDropExtraSpaces:
        file->drop_extra_spaces = message.Integer(field) != 0;
        break;
      case normalizer::kEscapeSpaces:
        Check(message.Integer(field) != 0, ErrorCode::kFormat,
              "{}: escape_whitespaces false is not read", source);
        break;
      default:
        break;  // its name and its source
    }
  }
}

std::string ByteName(int byte) { return fmt::format("<0x{:02X}>", byte); }

// What the pieces' texts mean for texts that are cut.
void LookAtTexts(SentencePieceFile* file) {
  constexpr std::string_view kMark = "\xE2\x96\x81";  // a space
  file->words_apart = !file->space_as_suffix;
  for (const SentencePiece& piece : file->pieces) {
    const std::string_view text = piece.text;
    const bool byte = text.size() == 6 && text.starts_with("<0x") && text.ends_with(">");
    file->byte_names = file->byte_names || byte;
    const bool raw = piece.type == PieceType::kUserDefined;  // looked for in the text as it stands
    if (raw && text.find(' ') != text.npos) file->words_apart = false;
    for (std::size_t at = text.find(kMark); at != text.npos; at = text.find(kMark, at + 1)) {
      if (raw || (at > 0 && !text.substr(0, at).ends_with(kMark))) file->words_apart = false;
    }
  }
}

void CheckPieces(std::string_view source, SentencePieceFile* file) {
  Check(!file->pieces.empty(), ErrorCode::kFormat, "{}: no SentencePiece model: it has no pieces",
        source);
  std::unordered_set<std::string_view> known;
  idx_t unknown = 0, bytes = 0;
  for (std::size_t id = 0; id < file->pieces.size(); ++id) {
    const SentencePiece& piece = file->pieces[id];
    Check(known.insert(piece.text).second, ErrorCode::kFormat, "{}: piece {} \"{}\" is there twice",
          source, id, io::Escape(piece.text));
    if (piece.type == PieceType::kUnknown) {
      ++unknown;
      file->unk = static_cast<std::int32_t>(id);
    }
    if (piece.type == PieceType::kByte) ++bytes;
  }
  Check(unknown == 1, ErrorCode::kFormat, "{}: {} pieces are of the type unknown, must be one",
        source, unknown);
  for (int b = 0; b < 256 && file->byte_fallback; ++b) {
    const std::string name = ByteName(b);
    Check(known.contains(name), ErrorCode::kFormat, "{}: byte_fallback without a piece {}", source,
          name);
  }
  Check(bytes == (file->byte_fallback ? 256 : 0), ErrorCode::kFormat,
        "{}: {} pieces are bytes, must be {}", source, bytes, file->byte_fallback ? 256 : 0);
}

}  // namespace

SentencePieceFile ReadSentencePieceFile(std::string_view bytes, std::string_view source) {
  Check(bytes.size() <= kMostTokenizerBytes, ErrorCode::kFormat,
        "{}: {} bytes, at most {} are read", source, bytes.size(), kMostTokenizerBytes);
  Message message(bytes, source, "the model");
  SentencePieceFile file;
  for (Field field; message.Next(&field);) {
    const std::string_view part = field.bytes;
    const bool used = field.number == model::kPieces || field.number == model::kTrainer ||
                      field.number == model::kNormalizer || field.number == model::kDenormalizer;
    if (!used) continue;
    Check(field.is_bytes, ErrorCode::kFormat, "{}: damaged: field {} of the model is no message",
          source, field.number);
    if (field.number == model::kPieces) {
      const auto count = static_cast<idx_t>(file.pieces.size());
      Check(count < kMostVocabularyEntries, ErrorCode::kFormat, "{}: more than {} pieces", source,
            kMostVocabularyEntries);
      file.pieces.push_back(ReadPiece(part, source, file.pieces.size()));
    } else if (field.number == model::kTrainer) {
      ReadTrainer(part, source, &file);
    } else if (field.number == model::kNormalizer) {
      ReadNormalizer(part, source, &file);
    } else {
      SentencePieceFile backwards;
      ReadNormalizer(part, source, &backwards);
      Check(backwards.characters_map.empty(), ErrorCode::kFormat,
            "{}: a denormalizer_spec with a map of characters is not read", source);
    }
  }
  CheckPieces(source, &file);
  LookAtTexts(&file);
  if (!file.characters_map.empty()) {
    const CharactersMap map(file.characters_map, source);
    Check(map.growth() <= limits::kMostGrowth, ErrorCode::kLimit,
          "{}: precompiled_charsmap makes {} bytes of one or more, at most {} are made", source,
          map.growth(), limits::kMostGrowth);
  }
  return file;
}

std::string EncodingModel(std::string_view bytes, bool dummy_prefix, bool byte_pieces) {
  std::string model;
  Message message(bytes, "model", "the model");
  std::size_t begin = 0;
  for (Field field; message.Next(&field); begin = message.at()) {
    if (field.number != model::kSamples) model += bytes.substr(begin, message.at() - begin);
  }
  // A message that stands twice is merged, and the later value wins. normalizer_spec (3) of two
  // bytes: add_dummy_prefix (3).
  model += std::string("\x1A\x02\x18", 3) + (dummy_prefix ? '\x01' : '\x00');
  if (!byte_pieces) return model;
  model += "\x12\x03\x98\x02\x01";  // trainer_spec (2) of three bytes: byte_fallback (35) is 1
  for (int b = 0; b < 256; ++b) {
    model += "\x0A\x0A\x0A\x06" + ByteName(b) + "\x18\x06";  // pieces (1): text (1), type (3) 6
  }
  return model;
}

}  // namespace longspan::text
