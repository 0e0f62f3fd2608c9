// Rows of a training's data. There may be more of them than memory takes.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "data/scratch_file.h"

namespace longspan {

// What a row is made of, for a kind of row whose fields are not plain memory: Of(row) ties them, of
// a constant row as of another. A specialization stands beside each kind.
template <class Row>
struct RowFields;

template <class Row>
concept HasRowFields = requires(Row& row) {
  RowFields<Row>::Of(row);
};

// Bytes of plain values, texts, lists of them, and of rows.
class RowWriter {
 public:
  template <class T>
  void Put(const T& value) {
    if constexpr (HasRowFields<T>) {
      std::apply([&](const auto&... field) { (Put(field), ...); }, RowFields<T>::Of(value));
    } else if constexpr (std::is_trivially_copyable_v<T>) {
      PutBytes(&value, sizeof(value));
    } else {
      Put(static_cast<std::uint64_t>(value.size()));
      if constexpr (std::is_trivially_copyable_v<typename T::value_type>) {
        PutBytes(value.data(), value.size() * sizeof(typename T::value_type));
      } else {
        for (const auto& item : value) Put(item);
      }
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void PutBytes(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  std::string bytes_;
};

// Reads what a RowWriter wrote. Nobody else can write there: there is nothing to check.
class RowBytes {
 public:
  explicit RowBytes(const std::uint8_t* next) : next_(next) {}

  template <class T>
  void Take(T& value) {
    if constexpr (HasRowFields<T>) {
      std::apply([&](auto&... field) { (Take(field), ...); }, RowFields<T>::Of(value));
    } else if constexpr (std::is_trivially_copyable_v<T>) {
      TakeBytes(&value, sizeof(value));
    } else {
      std::uint64_t size = 0;
      Take(size);
      value.resize(static_cast<std::size_t>(size));
      if constexpr (std::is_trivially_copyable_v<typename T::value_type>) {
        TakeBytes(value.data(), value.size() * sizeof(typename T::value_type));
      } else {
        for (auto& item : value) Take(item);
      }
    }
  }
  const std::uint8_t* next() const { return next_; }

 private:
  void TakeBytes(void* data, std::size_t size) {
    if (size > 0) std::memcpy(data, next_, size);
    next_ += size;
  }
  const std::uint8_t* next_;
};

// A list of rows that takes 8 bytes of memory a row: their contents lie in a scratch file. A row is
// made anew whenever it is asked for. Copies share the file, and each may grow. One thread at a
// time uses a list and its copies.
template <class Row>
class StoredRows {
 public:
  StoredRows() : StoredRows(data::ScratchPlace{}) {}
  explicit StoredRows(data::ScratchPlace place)
      : place_(std::move(place)), file_(std::make_shared<data::ScratchFile>(place_)) {}
  StoredRows(std::initializer_list<Row> rows) : StoredRows() {
    for (const Row& row : rows) push_back(row);
  }

  void push_back(const Row& row) {  // errors of ScratchFile::Append
    RowWriter writer;
    writer.Put(row);
    begins_.push_back(file_->size());
    file_->Append(writer.bytes().data(), writer.bytes().size());
  }
  // The row with this number of another list that shares this one's file.
  void Share(const StoredRows& other, std::size_t n) { begins_.push_back(other.begins_[n]); }
  // A list without rows that shares the file.
  StoredRows Empty() const {
    StoredRows empty = *this;
    empty.begins_.clear();
    return empty;
  }

  std::size_t size() const { return begins_.size(); }
  bool empty() const { return begins_.empty(); }
  const data::ScratchPlace& place() const { return place_; }

  Row operator[](std::size_t n) const {  // errors of ScratchFile::bytes
    Row row{};
    Take(n, &row);
    return row;
  }

  // Over copies of the rows, in their order.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Row;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Row;

    Iterator(const StoredRows* rows, std::size_t n) : rows_(rows), n_(n) {}
    Row operator*() const { return (*rows_)[n_]; }
    Iterator& operator++() {
      ++n_;
      return *this;
    }
    Iterator operator++(int) { return {rows_, n_++}; }
    bool operator==(const Iterator& other) const { return n_ == other.n_; }

   private:
    const StoredRows* rows_;
    std::size_t n_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }

  // Bytes of rows that ForEachChunk gives at a time. What is made of a text while it becomes tokens
  // takes ten times its bytes or more.
  static constexpr std::uint64_t kChunkBytes = std::uint64_t{4} << 20;

  // use(number of the first row, rows): all rows in their order, some at a time, one at least.
  template <class Use>
  void ForEachChunk(const Use& use) const {
    for (std::size_t n = 0; n < size();) {
      const std::size_t first = n;
      std::vector<Row> some;
      for (std::uint64_t bytes = 0; n < size() && bytes < kChunkBytes; ++n) {
        some.emplace_back();
        bytes += Take(n, &some.back());
      }
      use(first, some);
    }
  }

 private:
  std::uint64_t Take(std::size_t n, Row* row) const {  // returns its bytes
    const std::uint8_t* const begin = file_->bytes().data() + begins_[n];
    RowBytes bytes(begin);
    bytes.Take(*row);
    return static_cast<std::uint64_t>(bytes.next() - begin);
  }

  data::ScratchPlace place_;
  std::shared_ptr<data::ScratchFile> file_;
  std::vector<std::uint64_t> begins_;
};

}  // namespace longspan
