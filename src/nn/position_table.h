/* Fixed 2-D sin-cos positions (official get_2d_sincos_pos_embed). */
#ifndef MAE_NN_POSITION_TABLE_H
#define MAE_NN_POSITION_TABLE_H

#include <stdint.h>

/* table [1 + rows * columns, width]: zeros for the class token, then for each
 * patch the code of its column in the first half of the width and that of its
 * row in the second.  width is a multiple of 4. */
void mae_position_table(int64_t rows, int64_t columns, int64_t width,
                        float *table);

/* A table for rows x columns patches made from one for from_rows x from_columns
 * (official interpolate_pos_embed): the class token's row is copied, the
 * patches' go through bicubic interpolation as torch's, a = -0.75, pixel
 * centres aligned, edges repeated, no antialiasing. */
void mae_position_interpolate(int64_t from_rows, int64_t from_columns,
                              int64_t width, const float *from, int64_t rows,
                              int64_t columns, float *table);

#endif
