/* The commands of `mae`. */
#ifndef MAE_TOOL_COMMANDS_H
#define MAE_TOOL_COMMANDS_H

/* argv[0] is the command's name.  Each returns the exit status. */
int command_features(int argc, char **argv);
int command_reconstruct(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_info(int argc, char **argv);
int command_pretrain(int argc, char **argv);
int command_finetune(int argc, char **argv);
int command_probe(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_convert(int argc, char **argv);

#endif
