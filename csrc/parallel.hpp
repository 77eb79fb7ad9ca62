// Spreads independent tasks over threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace surgeon {

// Runs task(0) ... task(count - 1), each once, on at most `threads` threads of which the caller is one. They are begun
// in this order, so put the longest first. Every task runs even if another throws; then the exception of the task with
// the smallest number is thrown here, whatever the number of threads.
template <typename Task>
void parallel_for(std::size_t count, int threads, const Task& task) {
  std::atomic<std::size_t> next{0};
  std::mutex guard;
  std::size_t failed = std::numeric_limits<std::size_t>::max();
  std::exception_ptr failure;

  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        task(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (i < failed) {
          failed = i;
          failure = std::current_exception();
        }
      }
    }
  };

  std::vector<std::thread> helpers;
  helpers.reserve(threads > 1 ? static_cast<std::size_t>(threads - 1) : 0);
  for (int i = 1; i < threads && static_cast<std::size_t>(i) < count; ++i) {
    try {
      helpers.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // The system has no thread to give: those that there are do the work.
    }
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace surgeon
