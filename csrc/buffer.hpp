// Arrays for the vector units: aligned to a cache line, and not filled with anything.
#pragma once

#include <cstddef>
#include <memory>

namespace surgeon {

// Large blocks are kept by the thread that gave them back until it ends or says so: one matrix after the other needs
// the same, and to get fresh pages from the system each time takes a tenth of the time of the work itself.
namespace scratch {

void* take(std::size_t bytes);
void give_back(void* block, std::size_t bytes) noexcept;

// Returns to the system what this thread keeps.
void release() noexcept;

}  // namespace scratch

template <typename T>
class Buffer {
 public:
  explicit Buffer(std::ptrdiff_t size)
      : data_(static_cast<T*>(scratch::take(bytes_of(size))), GiveBack{bytes_of(size)}) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](std::ptrdiff_t i) { return data_.get()[i]; }
  const T& operator[](std::ptrdiff_t i) const { return data_.get()[i]; }

 private:
  struct GiveBack {
    std::size_t bytes;
    void operator()(T* data) const noexcept { scratch::give_back(data, bytes); }
  };

  static std::size_t bytes_of(std::ptrdiff_t size) { return static_cast<std::size_t>(size) * sizeof(T); }

  std::unique_ptr<T, GiveBack> data_;
};

}  // namespace surgeon
