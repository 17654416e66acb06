// SPDX-License-Identifier: LGPL-2.1-or-later
// Finds damage in what we wrote ourselves; no defence against forgery, which only root could do.
#pragma once

#include <string>
#include <string_view>

struct XXH3_state_s;

namespace ks::upgrade {

std::string checksum(std::string_view bytes);  // XXH3, 32 hexadecimal digits

// The same, piece by piece.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(std::string_view bytes);
  std::string finish() const;

 private:
  XXH3_state_s* state_;
};

}  // namespace ks::upgrade
