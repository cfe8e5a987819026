/* Inside the loader, for those that train from it. */
#ifndef MAE_DATA_LOADER_H
#define MAE_DATA_LOADER_H

#include "base/error.h"

/* The options in effect, lent by the loader. */
const mae_loader_options *mae_loader_options_of(const mae_loader *loader);
const mae_dataset *mae_loader_dataset_of(const mae_loader *loader);

#endif
