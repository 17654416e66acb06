// SPDX-License-Identifier: LGPL-2.1-or-later
// A child process, two pipes and shared memory. Messages are numbered; each speaks of one slot of the shared memory,
// whose content both sides check by its hash. Several messages are on their way at any time, so that the pipes are
// not empty when a checkpoint comes.
#pragma once

#include <stdint.h>

class Partner {
 public:
  static Partner start();  // before there are threads
  void exchange();         // sends the next message and reads the answer to an earlier one

 private:
  int to_child_ = -1, from_child_ = -1;
  uint64_t* slots_ = nullptr;
  uint64_t sent_ = 0, answered_ = 0;
};

// Private memory that is checked and rewritten piece by piece.
class Notes {
 public:
  Notes();
  void check_next_piece();

 private:
  static constexpr uint64_t kPieces = 64, kWords = 16384;  // 8 MiB
  uint64_t* words_;
  uint64_t hashes_[kPieces];
  uint64_t next_ = 0;
};
