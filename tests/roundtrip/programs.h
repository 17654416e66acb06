// SPDX-License-Identifier: LGPL-2.1-or-later
// The programs that go through every way of being dumped and restored, and find themselves unchanged.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace ks::test {

struct Program {
  std::string name;
  std::vector<std::string> arguments = {};
  bool still = true;    // /proc shows the same as long as it waits
  bool patient = true;  // no harm is done if a wait of it is made again whole, as after the death of an engine
  bool alone = true;    // it needs nobody who is no part of the image

  std::string label() const;
};

std::ostream& operator<<(std::ostream& out, const Program& program);
const std::vector<Program>& all_programs();

}  // namespace ks::test
