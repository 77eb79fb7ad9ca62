// Arrays for the vector units: aligned to a cache line, and not filled with anything.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace surgeon {

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::ptrdiff_t size)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), kAlignment))) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](std::ptrdiff_t i) { return data_.get()[i]; }
  const T& operator[](std::ptrdiff_t i) const { return data_.get()[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace surgeon
