// SPDX-License-Identifier: LGPL-2.1-or-later
// The content of carried files, between them and the image: only what is data, so that holes stay holes.
#pragma once

#include <string>

#include "base/result.h"
#include "engine/carried_files.pb.h"
#include "engine/image/store.h"

namespace ks::engine {

// Fills in `file.runs`. Returns the number of bytes written.
Result<uint64_t> write_content(ImageWriter& image, int fd, image::CarriedFileList::File& file);
// Into an empty file of the right size that is open for reading and writing.
Result<> read_content(const ImageReader& image, int fd, const image::CarriedFileList::File& file);

}  // namespace ks::engine
