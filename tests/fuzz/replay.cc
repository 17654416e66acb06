// SPDX-License-Identifier: LGPL-2.1-or-later
// Feeds a parser with its seeds, with every truncation of them and with damage that is the same in every run.
// With a directory as argument, writes the seeds there instead, and with a file, feeds that alone.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "target.h"

namespace {

// Copied to where nothing lies behind it, so that a sanitizer sees a read past the end.
void feed(const std::string& input) {
  std::vector<char> exact(input.begin(), input.end());
  ks::fuzz::run({exact.data(), exact.size()});
}

std::string damaged(std::string input, const std::vector<std::string>& seeds, std::mt19937& random) {
  auto below = [&](size_t bound) { return bound == 0 ? 0 : random() % bound; };
  for (size_t rounds = 1 + below(4); rounds > 0; --rounds) {
    size_t at = below(input.size() + 1), length = below(16);
    const std::string& other = seeds[below(seeds.size())];
    switch (below(5)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:
        input.insert(at, std::string(length, "\0\n :\\9"[below(6)]));
        break;
      default:
        input.insert(at, other.substr(below(other.size()), length * 8));
    }
  }
  return input;
}

}  // namespace

int main(int count, char** arguments) {
  auto seeds = ks::fuzz::seeds();
  if (count > 1) {
    std::filesystem::path path = arguments[1];
    if (std::filesystem::is_directory(path)) {
      for (size_t i = 0; i < seeds.size(); ++i) std::ofstream(path / std::to_string(i), std::ios::binary) << seeds[i];
    } else {
      std::ifstream file(path, std::ios::binary);
      feed({std::istreambuf_iterator<char>(file), {}});
    }
    return 0;
  }
  feed("");
  for (const std::string& seed : seeds) {
    feed(seed);
    for (size_t length = 0; length < std::min<size_t>(seed.size(), 4096); ++length) feed(seed.substr(0, length));
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) feed(damaged(seeds[random() % seeds.size()], seeds, random));
}
