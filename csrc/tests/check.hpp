// Checks that go on after a failure, so that one run shows all of them.
#pragma once

#include <cstdio>

namespace surgeon::tests {

inline int failures = 0;

inline bool check(bool holds, const char* what, const char* file, int line) {
  if (!holds) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
    ++failures;
  }
  return holds;
}

}  // namespace surgeon::tests

#define CHECK(condition) surgeon::tests::check((condition), #condition, __FILE__, __LINE__)
