#include "buffer.hpp"

#include <new>
#include <vector>

namespace surgeon::scratch {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kLarge = std::size_t{1} << 16;
constexpr std::size_t kKept = 16;

struct Block {
  void* data;
  std::size_t bytes;
};

struct Pool {
  Pool() { blocks.reserve(kKept); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { clear(); }

  void clear() noexcept {
    for (const Block& block : blocks) ::operator delete(block.data, kAlignment);
    blocks.clear();
  }

  std::vector<Block> blocks;
};

thread_local Pool pool;

// Sizes that are powers of two and the middles between them: so that blocks fit again, and little is wasted.
std::size_t rounded(std::size_t bytes) {
  std::size_t size = kLarge;
  while (size < bytes) size *= 2;
  return size > kLarge && bytes <= size / 4 * 3 ? size / 4 * 3 : size;
}

}  // namespace

void* take(std::size_t bytes) {
  if (bytes < kLarge) return ::operator new(bytes, kAlignment);
  const std::size_t size = rounded(bytes);
  for (Block& block : pool.blocks) {
    if (block.bytes != size) continue;
    void* data = block.data;
    block = pool.blocks.back();
    pool.blocks.pop_back();
    return data;
  }
  return ::operator new(size, kAlignment);
}

void give_back(void* block, std::size_t bytes) noexcept {
  if (bytes >= kLarge && pool.blocks.size() < kKept) {
    pool.blocks.push_back({block, rounded(bytes)});
  } else {
    ::operator delete(block, kAlignment);
  }
}

void release() noexcept { pool.clear(); }

}  // namespace surgeon::scratch
