// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/tmpfiles.h"

#include <map>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

std::vector<std::string> emptied_at_boot(std::span<const std::string> directories) {
  std::map<std::string, std::string> files;  // by name
  for (const std::string& directory : directories)
    for (const std::string& name : list_directory(directory).value_or(std::vector<std::string>{}))
      if (name.ends_with(".conf")) files.try_emplace(name, directory + "/" + name);
  std::map<std::string, char> types;  // by path
  for (const auto& [name, path] : files) {
    std::string text = read_file(path).value_or("");
    for (std::string_view line : split(text, '\n')) {
      auto words = split_words(line);
      if (words.size() < 2 || words[0].starts_with('#') || !words[1].starts_with('/')) continue;
      std::string_view where = words[1];
      while (where.size() > 1 && where.ends_with('/')) where.remove_suffix(1);
      types.try_emplace(std::string(where), words[0][0]);
    }
  }
  std::vector<std::string> emptied;
  for (const auto& [path, type] : types)
    if (type == 'D') emptied.push_back(path);
  return emptied;
}

}  // namespace ks::upgrade
